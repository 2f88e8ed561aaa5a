"""The reference of events: their kinds, and the fields of one."""

import msgspec

from docs.generators.markdown import anchor, code, table
from temporal_fleet.protocol.report import EventReport
from temporal_fleet.supervisor.core.kinds import KINDS

_HEAD = """\
# Events

What happens in a fleet is told as it happens: in its log (the key `kind`), by `temporal-fleet events`, on
the status page, and counted in `temporal_fleet_events_total`. A kind that somebody may have to do something
about has a section in the [runbook](../runbook.md).

## Fields

`temporal-fleet events --json` prints one JSON object a line. Fields may be added, and are never renamed.
"""

_KINDS = """\
## Kinds

One with several levels is told at the first of them, but where the text says otherwise.
"""

_FIELDS = {
    "time": "seconds since the epoch",
    "kind": "one of those below",
    "level": "`debug`, `info`, `warning` or `error`",
    "message": "what happened, in one line, for people: its words may change",
    "pool": "the pool that it concerns, or null",
    "entity": "the entity that it concerns, or null",
    "incarnation": "which life of that entity, or null",
}


def page() -> str:
    fields = {field.name for field in msgspec.structs.fields(EventReport)}
    if fields != set(_FIELDS):
        raise KeyError(f"fields of an event that are described, or there, alone: {fields ^ set(_FIELDS)}")
    kinds = [
        (
            f"[{code(kind)}](../runbook.md#{anchor(kind)})" if telling.is_trouble else code(kind),
            ", ".join(level.value for level in telling.levels),
            telling.when,
        )
        for kind, telling in KINDS.items()
    ]
    return "\n".join(
        [
            _HEAD,
            table(["Field", ""], ((code(name), about) for name, about in _FIELDS.items())),
            _KINDS,
            table(["Kind", "Level", "When"], kinds),
        ]
    )
