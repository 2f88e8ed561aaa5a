"""The helper processes (fork servers, cluster agent, dev server): which are wanted, and what becomes of
one that dies. One mechanism for the three kinds."""

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import KillHelper, Level, StartHelper, StopHelper
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    DEV_SERVER,
    HELPER_LIVE,
    Cluster,
    Helper,
    HelperKey,
    HelperKind,
    HelperState,
    Phase,
    Pool,
)
from temporal_fleet.supervisor.core.lives import forsake
from temporal_fleet.supervisor.core.restart import HEALTHY_AFTER, RestartPolicy, delay

BOOT = 60.0
"""Seconds for the agent's first word, and for the dev server."""
STOP_LIMIT = 5.0
"""Seconds from being told to go to SIGKILL."""
_POLICY = RestartPolicy()


def wanted_pools(draft: Draft) -> dict[HelperKey, Pool]:
    """The fork servers that must be there, each with a pool that says what to load."""
    pools = [*draft.pools.values(), *(draft.pending.pools.values() if draft.pending else ())]
    return {pool.fork_server: pool for pool in reversed(pools)}


def ready(draft: Draft, event: events.HelperReady) -> None:
    if (helper := _current(draft, event.key, event.life)) and helper.state is HelperState.STARTING:
        took = draft.now - helper.since
        draft.set_helper(helper, state=HelperState.READY, since=draft.now, deadline=None, reason="")
        draft.emit("helper.ready", Level.DEBUG, f"{helper.key}: ready in {took:.2f} s")


def refused(draft: Draft, event: events.HelperRefused) -> None:
    if helper := _current(draft, event.key, event.life):
        draft.set_helper(
            helper, state=HelperState.REFUSED, since=draft.now, deadline=None, reason=event.reason
        )
        if any(pool.fork_server == event.key for pool in draft.pools.values()):
            draft.emit("program.refused", Level.ERROR, event.reason)


def died(draft: Draft, event: events.HelperDied) -> None:
    helper = _current(draft, event.key, event.life)
    if helper is None:
        return
    if event.key.kind is HelperKind.FORK_SERVER:
        forsake(draft, event.key)
    if event.key == AGENT:
        draft.cluster = Cluster()
    if helper.state is HelperState.REFUSED:
        return
    if helper.state is HelperState.STOPPING:
        del draft.helpers[event.key]
        return
    healthy = helper.state is HelperState.READY and draft.now - helper.since >= HEALTHY_AFTER
    streak = 1 if healthy else helper.streak + 1
    wait = delay(_POLICY, streak, f"{event.key}.{helper.life}")
    draft.set_helper(
        helper,
        state=HelperState.BACKOFF,
        since=draft.now,
        deadline=draft.now + wait,
        streak=streak,
        reason=event.reason,
    )
    draft.emit("helper.died", Level.ERROR, f"{event.key}: {event.reason}; next try in {wait:.1f} s")


def reconcile(draft: Draft) -> None:
    """Start what is wanted and absent, stop what is there and not wanted."""
    pools = wanted_pools(draft) if draft.phase is Phase.RUNNING else {}
    keys = _wanted(draft, set(pools))
    for key in keys - draft.helpers.keys():
        _start(draft, key, life=1, streak=0, pool=pools.get(key))
    in_use = {e.fork_server for e in draft.entities.values() if e.is_live}
    for helper in tuple(draft.helpers.values()):
        if helper.key in keys:
            continue
        if helper.state not in HELPER_LIVE:
            del draft.helpers[helper.key]
        elif helper.state is not HelperState.STOPPING and helper.key not in in_use:
            draft.set_helper(
                helper, state=HelperState.STOPPING, since=draft.now, deadline=draft.now + STOP_LIMIT
            )
            draft.act(StopHelper(helper.key))


def expire(draft: Draft) -> None:
    pools = wanted_pools(draft)
    for helper in tuple(draft.helpers.values()):
        if helper.deadline is None or draft.now < helper.deadline:
            continue
        if helper.state is HelperState.BACKOFF:
            _start(draft, helper.key, helper.life + 1, helper.streak, pools.get(helper.key))
            continue
        draft.set_helper(helper, deadline=draft.now + STOP_LIMIT)
        draft.act(KillHelper(helper.key))
        if helper.state is HelperState.STARTING:
            took = draft.now - helper.since
            draft.emit("helper.killed", Level.ERROR, f"{helper.key}: not ready after {took:.0f} s: is killed")


def _wanted(draft: Draft, fork_servers: set[HelperKey]) -> set[HelperKey]:
    keys = {DEV_SERVER} if draft.embedded else set()
    if draft.phase in {Phase.RUNNING, Phase.DRAINING}:
        return keys | fork_servers | {AGENT}
    # The dev server outlives whoever may still talk to it.
    others = draft.helpers.keys() - {DEV_SERVER}
    return keys if others else set()


def _start(draft: Draft, key: HelperKey, life: int, streak: int, pool: Pool | None) -> None:
    limit = pool.boot if pool else BOOT
    reason = f"imports {pool.program.program}" if pool else ""
    draft.helpers[key] = Helper(
        key=key,
        state=HelperState.STARTING,
        since=draft.now,
        life=life,
        deadline=draft.now + limit,
        streak=streak,
        reason=reason,
    )
    draft.act(StartHelper(key, life, pool.program if pool else None))


def _current(draft: Draft, key: HelperKey, life: int) -> Helper | None:
    helper = draft.helpers.get(key)
    return helper if helper is not None and helper.life == life else None
