"""The reference of what commands print with --json, and what the status page serves: each object, with the
fields, types and words of the very code that it is made by."""

import ast
import inspect
import types
from collections.abc import Iterator
from enum import Enum
from typing import Final, Union, get_args, get_origin, get_type_hints

from docs.generators.markdown import anchor, code, table
from temporal_fleet.protocol import report
from temporal_fleet.protocol.report import (
    ChangeReport,
    ClusterReport,
    EntityReport,
    EvictionReport,
    ExecutionReport,
    ExitReport,
    FleetReport,
    PoolReport,
    RecoveryReport,
    SlotsReport,
    StatusReport,
    StepReport,
    SuspectReport,
)
from temporal_fleet.supervisor.core import findings
from temporal_fleet.supervisor.core.findings import Finding

_HEAD: Final = """\
# JSON

What a script reads: each command that tells something has `--json`. Fields may be added, and are never
renamed or removed. What is not there is null. Names end in their unit: `_s` is seconds, `_bytes` bytes; times
are seconds since the epoch. Texts for people (`reason`, `message`, `cause`, `figure`) may change.

Messages and errors go to stderr, so that stdout is JSON or empty; the exit status says whether the command
did what it was asked.

| Command | Prints |
| --- | --- |
| `status --json` | one [status](#status); with `--watch` one a line, each second |
| `executions --json` | an array of [executions](#execution); with `--watch` one a line, each second |
| `evict --json` | `{"entities": […]}`, of [evictions](#eviction) |
| `plan --json` | `{"steps": […]}`, of [steps](#step) |
| `changes --json` | `{"changes": […]}`, of [changes](#change), the newest first |
| `doctor --json` | `{"problems": N, "warnings": N, "findings": […]}`, of [findings](#finding) |
| `upgrade --json` | `{"pid": N, "before": "VERSION", "after": "VERSION", "adopted": N}` |
| `events --json` | one [event](events.md) a line |
| `logs --json` | one line of a log a line, as the process wrote it |

With `[fleet] http`, `/status.json` serves `{"answers": …, "status": …, "events": […], "history": …}`: whether
the supervisor answers, its last [status](#status), its last events, and how each entity fared of late.
"""

_SECTIONS: Final = (
    (StatusReport, report),
    (FleetReport, report),
    (ClusterReport, report),
    (PoolReport, report),
    (EntityReport, report),
    (ExitReport, report),
    (SlotsReport, report),
    (ChangeReport, report),
    (SuspectReport, report),
    (RecoveryReport, report),
    (ExecutionReport, report),
    (EvictionReport, report),
    (StepReport, report),
    (Finding, findings),
)
_WORDS: Final = {str: "text", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def page() -> str:
    return "\n".join([_HEAD, *(_section(of, module) for of, module in _SECTIONS)])


def _section(of: type, module: types.ModuleType) -> str:
    hints = get_type_hints(of)
    told = _told(of, module)
    rows = [(code(name), _type(hints[name]), told[name]) for name in hints]
    return f"## {_title(of)}\n\n" + table(["Field", "Type", ""], rows)


def _title(of: type) -> str:
    return of.__name__.removesuffix("Report")


def _type(hint: object) -> str:
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_type(each) for each in arguments)
    if get_origin(hint) in (list, tuple):
        return f"array: {_type(arguments[0])}"
    assert isinstance(hint, type), hint
    if hint in _WORDS:
        return _WORDS[hint]
    if issubclass(hint, Enum):
        return ", ".join(code(str(each.value)) for each in hint)
    return f"[{_title(hint).lower()}](#{anchor(_title(hint))})"


def _told(of: type, module: types.ModuleType) -> dict[str, str]:
    """What stands below each field in the source; empty: nothing."""
    tree = ast.parse(inspect.getsource(module))
    (found,) = (each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == of.__name__)
    return dict(_fields(found))


def _fields(of: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for line, following in zip(of.body, (*of.body[1:], None), strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            text = ""
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                text = " ".join(str(following.value.value).split())
            yield line.target.id, text
