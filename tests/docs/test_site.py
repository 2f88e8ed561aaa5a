"""What is generated into the site, but for the configuration: commands, events, metrics, the states."""

import re
from typing import Any, cast

import pytest
from mkdocs.exceptions import PluginError

from docs import hooks
from docs.generators import commands, events, json_output, metrics, states
from temporal_fleet.protocol import report
from temporal_fleet.supervisor.core.kinds import KINDS
from temporal_fleet.supervisor.core.states import TRANSITIONS, Change, State


def test_every_command_is_described_with_its_options() -> None:
    page = commands.page()
    described = re.findall(r"^## (.+)$", page, flags=re.MULTILINE)
    assert {"up", "status", "systemd install"} <= set(described)
    assert "    " not in page, "a help text that would be shown as code"
    assert "| `-w, --watch` | Stay, and show it anew every second. |" in page


def test_every_kind_of_event_is_described() -> None:
    page = events.page()
    for kind in KINDS:
        assert f"`{kind}`" in page
    assert "[`entity.died`](../runbook.md#entitydied)" in page


def test_every_object_that_is_printed_as_json_is_described() -> None:
    page = json_output.page()
    described = set(re.findall(r"^## (.+)$", page, flags=re.MULTILINE))
    structs = {name for name, of in vars(report).items() if isinstance(of, type) and name.endswith("Report")}
    # Its own page has it.
    assert described == {name.removesuffix("Report") for name in structs - {"EventReport"}} | {"Finding"}
    for fields in (
        "| `pss_bytes` | integer or null |  |",
        "| `last_exit` | [exit](#exit) or null |  |",
        "| `level` | `ok`, `warning`, `problem` |  |",
        "| `closed` | boolean |  |",
        "| `pollers` | integer | Polls of its Task Queue that are open, as it told last. |",
    ):
        assert fields in page


def test_every_metric_of_ours_is_described_by_its_scraped_name() -> None:
    page = metrics.page()
    for name in (
        "temporal_fleet_supervisor_answers",
        "temporal_fleet_entity_restarts_total",
        "temporal_fleet_events_total",
        "temporal_fleet_recovery_duration_seconds",
        "temporal_fleet_entity_evictions_total",
        "temporal_fleet_resurrection_duration_seconds",
    ):
        assert f"| `{name}` |" in page


def test_the_drawing_has_every_state_and_transition(monkeypatch: pytest.MonkeyPatch) -> None:
    drawing = states.drawing()
    for state in State:
        assert f">{state.value}</text>" in drawing
    assert len(list(states.edges())) == 14
    monkeypatch.setitem(TRANSITIONS, (State.QUIET, Change.BECOME_READY), State.READY)
    with pytest.raises(KeyError, match="not that of their transitions"):
        states.drawing()


@pytest.mark.parametrize(
    "tag",
    [
        '<link rel="stylesheet" href="https://fonts.example/a.css">',
        '<script src="//cdn.example/a.js"></script>',
        '<img alt="" src="http://example/a.png">',
    ],
)
def test_a_page_that_loads_something_from_elsewhere_is_refused(tag: str) -> None:
    page: Any = type("Page", (), {"file": type("File", (), {"src_uri": "index.md"})})
    with pytest.raises(PluginError, match="loads something from elsewhere"):
        hooks.on_post_page(f"<p>{tag}</p>", page=page, config=cast("Any", None))
    ours = '<link href="css/theme.css"><link rel="canonical" href="http://a/"><a href="https://temporal.io">'
    assert hooks.on_post_page(ours, page=page, config=cast("Any", None)) == ours
