"""The files for Prometheus and Grafana. That a real fleet has every metric they name is in tests/system."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.web.deployed import ALERTS, DASHBOARD, queries

HERE = Path(__file__).parent
PROMTOOL = shutil.which("promtool")

with_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not there (Debian: apt-get install prometheus)"
)


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


@with_promtool
def test_prometheus_takes_the_config_and_its_rules() -> None:
    promtool("check", "config", ALERTS.with_name("prometheus.yml"))


@with_promtool
def test_each_alert_fires_for_what_it_is_there_for_and_none_while_all_is_well() -> None:
    promtool("test", "rules", HERE / "alerts_test.yml")


@with_promtool
def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"query:{number}", "expr": query.replace("$__rate_interval", "1m")}
        for number, query in enumerate(queries(json.loads(DASHBOARD.read_text())))
    ]
    assert len(rules) > 20
    (tmp_path / "rules.json").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", tmp_path / "rules.json")


def test_no_alert_goes_untried_or_without_words() -> None:
    text = ALERTS.read_text()
    alerts = re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", text, flags=re.DOTALL)
    assert len(alerts) == text.count("alert:") > 10
    tried = (HERE / "alerts_test.yml").read_text()
    for name, rule in alerts:
        assert f'alertname="{name}"' in tried, name
        for key in ("severity: ", "summary: ", "description: "):
            assert key in rule, f"{name} has no {key}"
