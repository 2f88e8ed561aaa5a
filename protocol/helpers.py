"""Messages between the supervisor and its helpers (fork servers, cluster agent, web server) over a
SOCK_SEQPACKET pair, one frame a message. When the pair closes, the helper exits.

A helper gets the number of its end of the pair as its only command line argument.
"""

import msgspec

from temporal_fleet.protocol.examination import Examination
from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, LogFiles, ProgramSpec


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="log"):
    """To a helper: how and where it logs. To the agent before anything else, to a fork server in Prepare;
    again when it changes."""

    fleet: str = ""
    process: str = ""
    """What its lines say that it is: `fork server` or `agent`."""
    name: str = ""
    """Of its file, as of protocol.logfile."""
    log_format: str = "json"
    """`console` or `json`, on the inherited streams. Files are always JSON."""
    files: LogFiles | None = None
    """None: the inherited streams."""


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="prepare"):
    """To a fork server, first: import and validate this program."""

    program: ProgramSpec
    log: LogSettings = LogSettings()


class ForkEntity(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="fork"):
    """To a fork server that is prepared: fork one entity."""

    spec: EntitySpec


ToForkServer = LogSettings | Prepare | ForkEntity


class Prepared(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="prepared"):
    """The program is imported and validated; names of what it has."""

    workflows: list[str]
    activities: list[str]
    nexus_services: list[str]
    seconds: float
    code: str = ""
    """Digest of the program's own modules and of its distributions' versions, as they were imported."""
    files: bytes = b""
    """The files of those modules, absolute, each with the digest of its content; packed by `code.pack`."""
    search_path: list[bytes] = []
    """The folders that it imports from."""


class ProgramRefused(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refused"):
    """The program cannot be loaded or does not validate. Trying again changes nothing."""

    reason: str
    """One line: what, where, and what to do."""
    detail: str
    """The traceback, or every reason, a line each."""


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="forked"):
    """The entity exists, and may well be dead already."""

    entity: str
    incarnation: int
    pid: int


class ForkRefused(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="fork_refused"):
    """The kernel would not fork (EAGAIN, ENOMEM)."""

    entity: str
    incarnation: int
    reason: str


FromForkServer = Prepared | ProgramRefused | Forked | ForkRefused


class WatchCluster(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="watch"):
    """To the cluster agent, first, and again when it is another one: which Cluster to watch."""

    cluster: ClusterSpec
    fleet: str
    rebuild_task_tokens: bool = True
    """Whether Workflow Tasks of a dead entity are freed by tokens made anew."""


class ActivityVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one activity of a dead entity, where it is not simply retried at once."""

    task_token: bytes
    retry_after: float = 0.0
    """Seconds."""
    poison: str = ""
    """The evidence for which it is failed for good; empty: it is retried."""


class RecoverEntity(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="recover"):
    """To the agent: a life is over by no doing of its own; set free what its black box says that it held.
    Answered by one Recovered. Repeating it does no harm."""

    entity: str
    incarnation: int
    blackbox: str
    """Path of its black box."""
    signal: str | None
    """What killed it, if that is known: `SIGKILL`."""
    cause: str
    """How it died, in one line."""
    died_at: float
    """Seconds since the epoch, at the latest."""
    verdicts: list[ActivityVerdict] = []
    task_queue: str = ""
    """That it polled, as far as the supervisor still knows."""
    left_alone: list[str] = []
    """Run ids of executions that are suspected of killing: their Workflow Tasks in hand are not freed, and
    the Cluster tries them again in its own time."""


class FindClosed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="find_closed"):
    """To the agent: which of the blocked executions of a living entity are closed, says the Cluster?"""

    entity: str
    incarnation: int
    blackbox: str
    at_most: int
    """How many executions to ask for, the least recently active."""


class Examine(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="examine"):
    """To the agent: look at the Cluster for somebody who asks how it is. Answered by one Examined."""

    request: str
    task_queues: list[str]
    """At most examination.QUEUES_LIMIT."""
    alive: list[str]
    """The lives that there are now, as `orders-3.7`: every other one that the Cluster lists is dead."""
    resting: list[str]
    """Of those, which poll no more."""


ToAgent = LogSettings | WatchCluster | RecoverEntity | FindClosed | Examine


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="cluster"):
    """From the agent: the Cluster as it is now. Sent at the first answer and at each change."""

    reachable: bool
    refused: bool
    """It answers, and refuses: credentials, namespace."""
    reason: str
    """Empty when all is well; else what is wrong, in one line."""
    address: str
    namespace: str


class Recovered(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="recovered"):
    """From the agent: what a dead entity held is free, as far as it can be."""

    entity: str
    incarnation: int
    seconds: float
    """Since the order."""
    executions: int
    """Cached executions that its sticky queue was released of."""
    tasks_freed: int
    """Workflow Tasks that were in its hands, or waited in its sticky queue."""
    queries_answered: int
    activities_failed: int
    """Made to be tried again, or failed for good as poison."""
    refused: int
    """RPCs that came too late: completed, cancelled, timed out meanwhile. That is normal."""
    worker_reported: bool
    """The Cluster took the worker off its list."""
    problem: str = ""
    """What could not be done, and why; empty: nothing."""


class RecoveryDelayed(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="recovery_delayed"):
    """From the agent: the Cluster is away; it goes on trying."""

    entity: str
    incarnation: int
    reason: str


class CredentialsTried(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="credentials"):
    """From the agent: the files of its own credentials changed, and were tried."""

    problem: str
    """Why they are not used, and what to do; empty: they are in use."""


class ClosedFound(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="closed_found"):
    """Answers FindClosed; empty too when the Cluster does not answer."""

    entity: str
    incarnation: int
    run_ids: list[str]


class Examined(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="examined"):
    """Answers Examine."""

    request: str
    examination: Examination


FromAgent = ClusterState | Recovered | RecoveryDelayed | CredentialsTried | ClosedFound | Examined


class Serve(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="serve"):
    """To the web server, once: serve the fleet of this run directory over HTTP."""

    fleet: str
    http: str
    """HOST:PORT; port 0: a free one."""
    run_dir: str


ToWeb = Serve


class Serving(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="serving"):
    """From the web server: where it serves, or why it does not (yet). Sent at the first try and at each
    change."""

    address: str
    """HOST:PORT with the real port; empty: nowhere."""
    problem: str = ""
    """Empty: it serves."""


FromWeb = Serving
