"""The status page as text. What a browser makes of it is in tests/system."""

import re
from html.parser import HTMLParser

from msgspec.structs import replace

from temporal_fleet.protocol.report import EventReport
from temporal_fleet.supervisor.web.history import KEPT, History, Moment
from temporal_fleet.supervisor.web.page import CONTENT_SECURITY_POLICY, render
from tests.cli.wire import pool
from tests.web.reports import ORDERS_1, ORDERS_2, of

NASTY = "<script>alert('x')</script> & \"quoted\""
EVENT = EventReport(time=1_700_000_000.0, kind="entity.died", level="error", message=NASTY, entity="orders-1")
PAST = [Moment(time=5.0 * n, rss_bytes=(n + 1) << 20, cached_executions=0) for n in range(5)]


def page() -> str:
    return render(of(), [EVENT], {"orders-1": PAST}, answers=True, now=0.0)


class Elements(HTMLParser):
    """Every element that was opened, and whether each that has an end was ended in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag not in {"meta", "polygon", "polyline"}:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"polygon", "polyline"}:
            assert self.stack.pop() == tag


def test_it_is_whole_and_loads_nothing_from_elsewhere() -> None:
    elements = Elements()
    elements.feed(page())
    assert elements.stack == []
    for tag, attributes in elements.opened:
        assert "src" not in attributes, tag
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        assert "://" not in (attributes.get("href") or ""), tag
    assert "default-src 'none'" in CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY


def test_what_others_wrote_is_text_and_no_markup() -> None:
    entities = replace(ORDERS_1, reason=NASTY), ORDERS_2
    pools = (pool(NASTY, desired=2, ready=1, reason=NASTY),)
    text = render(of(*entities, pools=pools, reason=NASTY), [EVENT], {}, answers=True, now=0.0)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert text.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;") >= 5


def test_each_entity_has_its_figures_and_a_chart_in_words() -> None:
    text = page()
    assert 'aria-label="memory of orders-1: 5.0 MiB now, between 1.0 MiB and 5.0 MiB in the last 20s"' in text
    assert len(re.findall("<svg", text)) == 2, "one with one moment, or none, has no chart"
    assert ">60.0 MiB<" in text
    assert "entity.died" in text


def test_a_supervisor_that_hangs_is_the_first_thing_said() -> None:
    text = render(of(), [], {}, answers=False, now=0.0)
    assert "<li>The supervisor does not answer" in text
    assert "nothing was told yet" in text


def test_what_is_remembered_is_bounded_and_of_those_that_there_are() -> None:
    history = History()
    for moment in range(KEPT + 10):
        history.note(of(), float(moment))
    assert len(history.entities["orders-1"]) == KEPT
    history.note(of(ORDERS_1), 0.0)
    history.note(of(replace(ORDERS_1, pid=None)), 0.0)
    assert history.entities == {}
