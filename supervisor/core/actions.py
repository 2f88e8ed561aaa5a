"""Everything the core can order. Plain values; `decide` returns them, the shell performs them in order, but
what can wait (`Emit`, `Forget`, `SaveSuspects`) after the rest of its decision."""

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from temporal_fleet.protocol.spec import ProgramSpec
from temporal_fleet.supervisor.core.estate import ActivityVerdict, Life, Suspect
from temporal_fleet.supervisor.core.fleet import HelperKey
from temporal_fleet.supervisor.core.plan import Step

if TYPE_CHECKING:
    from temporal_fleet.supervisor.core.kinds import EventKind


class Level(Enum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Fork:
    """Persist the incarnation, then ask the fork server. Its deadline is already armed."""

    entity: str
    incarnation: int
    pool: str
    fork_server: HelperKey
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Welcome:
    entity: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class TellDrain:
    entity: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class TellQuiet:
    """Have it stop polling, and go on with what it has."""

    entity: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Have it write its Python stacks, and bring them to the log."""

    entity: str
    incarnation: int
    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL. Without a PID the entity was never announced: find it, or find out that it never was."""

    entity: str
    incarnation: int
    pid: int | None


@dataclass(frozen=True, slots=True)
class Recover:
    """Have the agent set free what a dead entity held. Answered by Recovered, unless the agent dies."""

    life: Life
    signal: str | None
    cause: str
    verdicts: tuple[ActivityVerdict, ...]
    left_alone: tuple[str, ...] = ()
    """Run ids of executions whose Workflow Tasks in hand are not freed."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the files of a life: there is nothing (more) to recover from them."""

    life: Life


@dataclass(frozen=True, slots=True)
class SaveSuspects:
    """Persist them: they outlive the supervisor and the host. The oldest first."""

    suspects: tuple[Suspect, ...]


@dataclass(frozen=True, slots=True)
class FindClosed:
    """Ask the Cluster which of an entity's blocked executions are closed. Answered by ClosedFound, unless the
    agent dies."""

    life: Life
    at_most: int


@dataclass(frozen=True, slots=True)
class Evict:
    """Answered by Evicted, unless the entity dies."""

    life: Life
    at_most: int
    run_ids: tuple[str, ...]
    """These first."""


@dataclass(frozen=True, slots=True)
class StartHelper:
    key: HelperKey
    life: int
    program: ProgramSpec | None


@dataclass(frozen=True, slots=True)
class StopHelper:
    key: HelperKey


@dataclass(frozen=True, slots=True)
class KillHelper:
    key: HelperKey


@dataclass(frozen=True, slots=True)
class Accept:
    """The change is in force, as this generation. What it takes to get there goes on."""

    request: str
    message: str
    generation: int
    change: int = 0
    """Its id among the fleet's changes."""


@dataclass(frozen=True, slots=True)
class Reject:
    """Nothing was changed."""

    request: str
    problems: tuple[str, ...]
    change: int = 0


@dataclass(frozen=True, slots=True)
class Converged:
    """The fleet is what the change asked for."""

    request: str
    message: str
    change: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The change was in force, and is not to be had: a newer one took its place, the fleet stops, or it was
    taken back. `restored`: the generation whose config is in force again; None: the present one stays."""

    request: str
    problems: tuple[str, ...]
    change: int
    restored: int | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Progress of a request."""

    request: str
    message: str
    steps: tuple[Step, ...] = ()
    """What it is about to do, where the message is their summary."""


@dataclass(frozen=True, slots=True)
class Emit:
    """To the log and to whoever follows `events`."""

    kind: "EventKind"
    level: Level
    message: str
    pool: str | None = None
    entity: str | None = None
    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """All is down: leave."""


Action = (
    Fork
    | Welcome
    | TellDrain
    | TellQuiet
    | DumpStacks
    | Kill
    | Recover
    | Forget
    | SaveSuspects
    | FindClosed
    | Evict
    | StartHelper
    | StopHelper
    | KillHelper
    | Accept
    | Reject
    | Converged
    | Failed
    | Tell
    | Emit
    | Finish
)
