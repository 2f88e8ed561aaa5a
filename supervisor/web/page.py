"""The status page: one HTML document with all that it needs, for people who would rather look than type. A
report in, text out.

It is drawn here and nowhere else, charts included, and so is whole without JavaScript; with it, `page.js`
puts the present page's parts in the place of its own. Nothing is loaded from anywhere, and the policy allows
nothing but what is in it.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

from temporal_fleet.protocol.report import EntityReport, EventReport, StatusReport
from temporal_fleet.supervisor.cli.human import clock, count, duration, size
from temporal_fleet.supervisor.web.history import Moment

_STYLE = Path(__file__).with_name("page.css").read_text()
_SCRIPT = Path(__file__).with_name("page.js").read_text()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_WIDTH, _HEIGHT = 120, 24
_LEAST_SPAN = 60.0
"""Seconds that a chart shows at least."""
_EVENTS = 20
_TONES = {"running": "good", "ready": "good", "failed": "bad", "degraded": "bad", "backoff": "poor"}
_TONES |= {"draining": "poor", "reloading": "busy", "starting": "busy", "quiet": "busy"}

Cell = str | tuple[str, str]
"""HTML; and the class of its cell."""


def render(
    report: StatusReport,
    events: Sequence[EventReport],
    history: Mapping[str, Sequence[Moment]],
    *,
    answers: bool,
    now: float,
) -> str:
    """`answers`: whether the supervisor does; if not, the report is what it said last."""
    fleet = report.fleet
    name = escape(fleet.name)
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{name}: {escape(fleet.state)}</title>
<noscript><meta http-equiv="refresh" content="5"></noscript>
<style>{_STYLE}</style>
</head>
<body>
<header data-live="head">
<h1>{name} {_badge(fleet.state)}</h1>
<p>{_headline(report)}</p>
{_warnings(report, answers)}</header>
<main>
<section aria-labelledby="pools"><h2 id="pools">Pools</h2>
<div data-live="pools">{_pools(report)}</div></section>
<section aria-labelledby="entities"><h2 id="entities">Entities</h2>
<div data-live="entities">{_entities(report, history)}</div></section>
<section aria-labelledby="events"><h2 id="events">Last events</h2>
<div data-live="events">{_events(events)}</div></section>
</main>
<footer><p><span data-live="time">As of {clock(now)[:8]}.</span>
<button id="pause" type="button" aria-pressed="false" hidden>Pause</button>
<a href="status.json">JSON</a> <a href="metrics">metrics</a> <a href="readyz">readiness</a></p></footer>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _headline(report: StatusReport) -> str:
    fleet, cluster = report.fleet, report.cluster
    ready = sum(pool.ready for pool in report.pools)
    desired = sum(pool.desired for pool in report.pools)
    memory = sum(entity.rss_bytes or 0 for entity in report.entities)
    cached = sum(entity.cached_executions for entity in report.entities)
    parts = [
        f"{ready} of {count(desired, 'entity', 'entities')} ready",
        f"{size(memory)} of memory",
        f"{count(cached, 'execution')} cached",
        f"generation {fleet.generation}",
        f"up {duration(fleet.uptime_s)}",
        f"Cluster {escape(cluster.address)}, {escape(cluster.namespace)} "
        + _badge("reachable" if cluster.reachable else "unreachable", "good" if cluster.reachable else "bad"),
    ]
    return " · ".join(parts)


def _warnings(report: StatusReport, answers: bool) -> str:
    told = [] if answers else ["The supervisor does not answer: this is what it said last."]
    told += [report.fleet.reason, report.cluster.reason]
    told += [f"{pool.name}: {pool.reason}" for pool in report.pools if pool.reason]
    if report.suspects_total:
        told.append(f"{count(report.suspects_total, 'suspect')} of poison: temporal-fleet status")
    if report.recoveries_total:
        told.append(f"{count(report.recoveries_total, 'dead entity', 'dead entities')} to be recovered")
    items = "".join(f"<li>{escape(line)}</li>" for line in dict.fromkeys(told) if line)
    return f'<ul class="warnings" role="status">{items}</ul>\n' if items else ""


def _pools(report: StatusReport) -> str:
    rows: list[list[Cell]] = []
    for pool in report.pools:
        mine = [entity for entity in report.entities if entity.pool == pool.name]
        whole = "good" if pool.ready >= pool.desired else "bad"
        rows.append(
            [
                escape(pool.name),
                escape(pool.task_queue),
                escape(pool.program),
                (_badge(f"{pool.ready} of {pool.desired}", whole), "number"),
                _number(sum(entity.cached_executions for entity in mine)),
                _number(sum(entity.inflight_activities for entity in mine)),
                (size(sum(entity.rss_bytes or 0 for entity in mine)), "number"),
                _number(sum(entity.restarts for entity in mine)),
            ]
        )
    return _table(
        "Pools",
        ("pool", "task queue", "program", "ready", "cached", "activities", "memory", "restarts"),
        rows,
        "there are no pools",
    )


def _entities(report: StatusReport, history: Mapping[str, Sequence[Moment]]) -> str:
    rows: list[list[Cell]] = []
    for entity in report.entities:
        past = history.get(entity.id, ())
        memory = _chart(f"memory of {entity.id}", [(m.time, m.rss_bytes) for m in past], size)
        cached = _chart(
            f"cached executions of {entity.id}", [(m.time, m.cached_executions) for m in past], str
        )
        rows.append(
            [
                escape(entity.id),
                _badge(entity.state),
                ("-" if entity.pid is None else str(entity.pid), "number"),
                (size(entity.rss_bytes), "number"),
                (memory, "chart"),
                _number(entity.cached_executions),
                (cached, "chart"),
                _number(entity.inflight_activities),
                _number(entity.restarts),
                (duration(entity.uptime_s) if entity.pid is not None else "-", "number"),
                (_note(entity), "note"),
            ]
        )
    return _table(
        "Entities",
        (
            *("entity", "state", "PID", "memory", "over time", "cached", "over time"),
            *("activities", "restarts", "up", "note"),
        ),
        rows,
        "there are no entities",
    )


def _note(entity: EntityReport) -> str:
    if entity.reason:
        return escape(entity.reason)
    return escape(f"before: {entity.last_exit.cause}") if entity.last_exit is not None else ""


def _events(events: Sequence[EventReport]) -> str:
    rows: list[list[Cell]] = [
        [
            (clock(event.time), "number"),
            _badge(event.level, {"error": "bad", "warning": "poor"}.get(event.level, "")),
            escape(event.kind),
            escape(event.entity or event.pool or ""),
            (escape(event.message), "note"),
        ]
        for event in list(events)[: -_EVENTS - 1 : -1]
    ]
    return _table("Last events", ("time", "level", "kind", "of", "what"), rows, "nothing was told yet")


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]], otherwise: str) -> str:
    """Each row is headed by its first cell, and the columns as the first row is laid out."""
    body = []
    for row in rows:
        cells = [(cell, "") if isinstance(cell, str) else cell for cell in row]
        (first, kind), *others = cells
        line = f'<th scope="row" class="{kind}">{first}</th>'
        line += "".join(f'<td class="{kind}">{html}</td>' for html, kind in others)
        body.append(f"<tr>{line}</tr>")
    if not body:
        return f"<p>{escape(otherwise)}</p>"
    kinds = ["" if isinstance(cell, str) else cell[1] for cell in next(iter(rows))]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(column)}</th>'
        for column, kind in zip(columns, kinds, strict=True)
    )
    # A table that is wider than the screen scrolls, for a keyboard too.
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{''.join(body)}</tbody></table></div>"
    )


def _badge(text: str, tone: str | None = None) -> str:
    kind = _TONES.get(text, "") if tone is None else tone
    return f'<span class="badge {kind}">{escape(text)}</span>'


def _number(value: int) -> Cell:
    return f"{value:,}".replace(",", "\u202f"), "number"


def _chart(what: str, past: Sequence[tuple[float, int]], shown: Callable[[int], str]) -> str:
    """A line from 0 up, over the last minutes; its words for whoever does not see it."""
    if len(past) < 2:
        return ""
    (begin, _), (end, _), most = past[0], past[-1], max(value for _, value in past)
    span = max(end - begin, _LEAST_SPAN)
    points = [
        (
            _WIDTH * (1 - (end - moment) / span),
            _HEIGHT - 1 - (_HEIGHT - 2) * value / max(most, 1),
        )
        for moment, value in past
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    area = f"{points[0][0]:.1f},{_HEIGHT} {line} {points[-1][0]:.1f},{_HEIGHT}"
    least = min(value for _, value in past)
    label = (
        f"{what}: {shown(past[-1][1])} now, between {shown(least)} and {shown(most)} in the last "
        f"{duration(end - begin)}"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(label)}"><title>{escape(label)}</title>'
        f'<polygon points="{area}"/><polyline points="{line}"/></svg>'
    )
