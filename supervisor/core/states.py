"""The states of a Worker Entity's place in the fleet, and the only table of transitions between them.

    waiting   no process yet: its program is being imported, or the Cluster is not there
    starting  forked; has a deadline by which it must be ready
    ready     validated by the Cluster and polling
    quiet     told to stop polling; works on at what it has until it is told to drain; another has its place
    draining  on its way out; has a deadline after which it is killed
    backoff   died; has a time for the next try
    stopped   ended for good, as its restart policy wants
    failed    gave up: crash loop, or a program that cannot run; `restart` clears it

A place that is no longer wanted has no state: it is removed.
"""

from enum import Enum


class State(Enum):
    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    QUIET = "quiet"
    DRAINING = "draining"
    BACKOFF = "backoff"
    STOPPED = "stopped"
    FAILED = "failed"


class Change(Enum):
    """What may happen to a place."""

    FORK = "fork"
    """A life begins."""
    BECOME_READY = "become ready"
    GO_QUIET = "go quiet"
    LEAVE = "leave"
    """The life is to end: told to drain, leaves by itself, or is about to be killed."""
    RETRY_NOW = "retry now"
    """Its life, if any, is over; another may begin at once."""
    RETRY_LATER = "retry later"
    END = "end"
    GIVE_UP = "give up"


LIVE = frozenset({State.STARTING, State.READY, State.QUIET, State.DRAINING})
"""States that have a process."""

TRANSITIONS: dict[tuple[State, Change], State] = {
    (State.WAITING, Change.FORK): State.STARTING,
    (State.WAITING, Change.GIVE_UP): State.FAILED,
    (State.STARTING, Change.BECOME_READY): State.READY,
    (State.STARTING, Change.LEAVE): State.DRAINING,
    (State.READY, Change.LEAVE): State.DRAINING,
    (State.READY, Change.GO_QUIET): State.QUIET,
    (State.QUIET, Change.LEAVE): State.DRAINING,
    **{(state, Change.RETRY_NOW): State.WAITING for state in LIVE},
    **{(state, Change.RETRY_LATER): State.BACKOFF for state in LIVE},
    **{(state, Change.END): State.STOPPED for state in LIVE},
    **{(state, Change.GIVE_UP): State.FAILED for state in LIVE},
    (State.BACKOFF, Change.RETRY_NOW): State.WAITING,
    (State.STOPPED, Change.RETRY_NOW): State.WAITING,
    (State.FAILED, Change.RETRY_NOW): State.WAITING,
}
