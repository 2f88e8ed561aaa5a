"""The states of an entity's place, drawn and told from the table of transitions. Where each stands in the
drawing is written here; which arrows there are, is not."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from docs.generators.markdown import code, table
from temporal_fleet.supervisor.core.states import LIVE, TRANSITIONS, Change, State

_ALL_LIVE: Final = None
"""In the place of a state: each that has a process."""

Edge = tuple[State | None, State]


@dataclass(frozen=True)
class _Arrow:
    """A path of SVG, and where its words begin."""

    path: str
    x: int
    y: int


_PLACES: Final = {
    State.WAITING: (90, 70),
    State.STARTING: (330, 70),
    State.READY: (500, 70),
    State.QUIET: (670, 70),
    State.DRAINING: (500, 150),
    State.BACKOFF: (90, 190),
    State.STOPPED: (330, 270),
    State.FAILED: (570, 270),
}
_ARROWS: Final[dict[Edge, _Arrow]] = {
    (State.WAITING, State.STARTING): _Arrow("M140 62 H278", 155, 56),
    (_ALL_LIVE, State.WAITING): _Arrow("M250 88 L142 78", 162, 102),
    (_ALL_LIVE, State.BACKOFF): _Arrow("M250 160 L142 184", 160, 196),
    (_ALL_LIVE, State.STOPPED): _Arrow("M330 190 V253", 338, 232),
    (_ALL_LIVE, State.FAILED): _Arrow("M570 190 V253", 578, 232),
    (State.STARTING, State.READY): _Arrow("M380 70 H448", 372, 46),
    (State.STARTING, State.DRAINING): _Arrow("M345 87 L448 142", 362, 124),
    (State.READY, State.DRAINING): _Arrow("M500 87 V133", 506, 114),
    (State.READY, State.QUIET): _Arrow("M550 70 H618", 556, 62),
    (State.QUIET, State.DRAINING): _Arrow("M655 87 L552 142", 622, 124),
    (State.BACKOFF, State.WAITING): _Arrow("M90 173 V89", 98, 140),
    (State.STOPPED, State.WAITING): _Arrow("M330 287 V310 H20 V70 H38", 36, 304),
    (State.FAILED, State.WAITING): _Arrow("M570 287 V310 H20 V70 H38", 36, 304),
    (State.WAITING, State.FAILED): _Arrow("M90 53 V14 H756 V270 H622", 700, 262),
}


def drawing() -> str:
    """SVG, to stand in a page. Raises KeyError where the table has what the drawing has no place for."""
    arrows = {edge: [change for change, *found in edges() if tuple(found) == edge] for edge in _ARROWS}
    missing = {(source, target) for _, source, target in edges()} - set(_ARROWS)
    if missing or not all(arrows.values()) or set(_PLACES) != set(State):
        raise KeyError(f"the drawing of the states is not that of their transitions: {missing}")
    parts = [
        '<svg viewBox="0 0 770 325" role="img" aria-label="States of an entity" font-size="13" '
        'style="max-width: 100%; font-family: sans-serif">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        '<rect x="250" y="30" width="480" height="160" rx="8" fill="none" stroke="#888" '
        'stroke-dasharray="4 4"/>',
        '<text x="632" y="180" fill="#666">has a process</text>',
    ]
    for edge, changes in arrows.items():
        arrow = _ARROWS[edge]
        parts.append(f'<path d="{arrow.path}" fill="none" stroke="#444" marker-end="url(#tip)"/>')
        words = " / ".join(change.value for change in changes)
        parts.append(f'<text x="{arrow.x}" y="{arrow.y}" fill="#444" font-size="11">{words}</text>')
    for state, (x, y) in _PLACES.items():
        fill = "#e8f3ea" if state in LIVE else "#f3f3f3"
        parts.append(
            f'<rect x="{x - 50}" y="{y - 17}" width="100" height="34" rx="6" fill="{fill}" stroke="#444"/>'
        )
        parts.append(f'<text x="{x}" y="{y + 5}" text-anchor="middle">{state.value}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def transitions() -> str:
    """The table, in Markdown."""
    rows = [
        (
            "each with a process" if source is _ALL_LIVE else code(source.value),
            change.value,
            code(target.value),
        )
        for change, source, target in edges()
    ]
    return table(["From", "What happens", "To"], rows)


def edges() -> Iterator[tuple[Change, State | None, State]]:
    """Each transition; one that every state with a process has stands there once, for all of them."""
    shared = {
        (change, target)
        for (_, change), target in TRANSITIONS.items()
        if all(TRANSITIONS.get((state, change)) is target for state in LIVE)
    }
    told = set()
    for (source, change), target in TRANSITIONS.items():
        if source in LIVE and (change, target) in shared:
            if (change, target) not in told:
                told.add((change, target))
                yield change, _ALL_LIVE, target
        else:
            yield change, source, target
