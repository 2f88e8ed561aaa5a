"""Everything the core can order. Plain values; `decide` returns them, the shell performs them in order, but
what only tells (`Emit`) after the rest of its decision."""

from dataclasses import dataclass
from enum import Enum

from temporal_fleet.protocol.spec import ProgramSpec
from temporal_fleet.supervisor.core.fleet import HelperKey


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


@dataclass(frozen=True, slots=True)
class Welcome:
    entity: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class TellDrain:
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
    """The change is in force, as this generation."""

    request: str
    message: str
    generation: int


@dataclass(frozen=True, slots=True)
class Reject:
    """Nothing was changed."""

    request: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tell:
    """Progress of a request."""

    request: str
    message: str


@dataclass(frozen=True, slots=True)
class Emit:
    """To the log and to whoever follows `events`."""

    kind: str
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
    | DumpStacks
    | Kill
    | StartHelper
    | StopHelper
    | KillHelper
    | Accept
    | Reject
    | Tell
    | Emit
    | Finish
)
