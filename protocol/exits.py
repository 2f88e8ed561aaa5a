"""Exit codes of a Worker Entity, and what each one tells the supervisor.

The numbers above 63 are those of sysexits.h, so that an operator who knows them can read them.
"""

from enum import Enum, IntEnum


class ExitCode(IntEnum):
    """How an entity ended itself. Any other code, and any signal, is a crash."""

    STOPPED = 0
    """It drained, as it was told or by a signal, and nothing of it is left."""
    CRASHED = 1
    """An exception that nobody expected."""
    WORKER_FAILED = 70
    """The SDK's Worker ended with an error of its own (EX_SOFTWARE)."""
    CLUSTER_UNREACHABLE = 69
    """No Cluster answers at the address (EX_UNAVAILABLE)."""
    CLUSTER_REFUSED = 77
    """The Cluster answers, and refuses: credentials, namespace (EX_NOPERM)."""
    PROGRAM_UNUSABLE = 78
    """The Worker Program cannot be run as configured: nothing in it, options that contradict (EX_CONFIG)."""
    NO_BLACK_BOX = 73
    """The run directory takes no files of it: full, or not writable (EX_CANTCREAT)."""
    ORPHANED = 75
    """It drained by itself, since no supervisor came back in time (EX_TEMPFAIL)."""


class Verdict(Enum):
    """What the end of an entity means for its place in the fleet."""

    LEFT = "left"
    """It went by its own clean-up: nothing to recover. Where no supervisor ordered that it counts as a crash
    does, or it could go on without end."""
    CRASH = "crash"
    """Counts against its restart intensity."""
    CLUSTER = "cluster"
    """The Cluster's doing: never counted, retried for ever, slowly."""
    HOST = "host"
    """The machine's doing: never counted, retried for ever, slowly."""
    PROGRAM = "program"
    """Retrying cannot help: it stands still until somebody changes something."""


_VERDICTS = {
    ExitCode.STOPPED: Verdict.LEFT,
    ExitCode.ORPHANED: Verdict.LEFT,
    ExitCode.CLUSTER_UNREACHABLE: Verdict.CLUSTER,
    ExitCode.CLUSTER_REFUSED: Verdict.CLUSTER,
    ExitCode.PROGRAM_UNUSABLE: Verdict.PROGRAM,
    ExitCode.NO_BLACK_BOX: Verdict.HOST,
}


def verdict(code: int | None) -> Verdict:
    """What an exit code means; None (unknown, or killed by a signal) is a crash."""
    if code is None:
        return Verdict.CRASH
    try:
        return _VERDICTS.get(ExitCode(code), Verdict.CRASH)
    except ValueError:
        return Verdict.CRASH
