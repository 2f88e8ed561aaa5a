"""The runbook has a section for each event that may need somebody, for each alert, and for nothing else."""

import re

from docs.generators.markdown import anchor
from temporal_fleet.supervisor.core.kinds import KINDS
from tests.docs.pages import RUNBOOK
from tests.pages import sections
from tests.web.deployed import ALERTS


def headings(text: str) -> list[str]:
    return re.findall(r"^### (.+)$", text, flags=re.MULTILINE)


def runbook_of_alerts() -> dict[str, str]:
    return dict(
        re.findall(r"- alert: (\w+)\n(?:.*\n)*?\s+runbook: (\S+)\n", ALERTS.read_text()),
    )


def test_each_event_that_may_need_somebody_has_a_section() -> None:
    before_the_alerts, _, _ = RUNBOOK.read_text().partition("\n## Alerts\n")
    described = headings(before_the_alerts)
    assert sorted(described) == sorted(kind for kind, telling in KINDS.items() if telling.is_trouble)


def test_each_alert_has_a_section_and_names_it() -> None:
    named = runbook_of_alerts()
    assert len(named) == ALERTS.read_text().count("- alert: ") > 10
    assert sorted(headings(sections(RUNBOOK.read_text())["Alerts"])) == sorted(named)
    for alert, place in named.items():
        assert place == f"docs/runbook.md#{anchor(alert)}"


def test_each_section_says_what_to_do_or_where_that_stands() -> None:
    _, *parts = re.split(r"^### ", RUNBOOK.read_text(), flags=re.MULTILINE)
    for part in parts:
        heading, _, text = part.partition("\n")
        assert "- **Do**: " in text or re.search(r"\]\(#\w", text), heading


def test_anchors_are_those_of_the_site() -> None:
    assert anchor("entity.not-polling") == "entitynot-polling"
    assert anchor("Bounds of recovery") == "bounds-of-recovery"
