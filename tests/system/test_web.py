"""The fleet over HTTP: health, metrics and the page of a real fleet, with and without trouble."""

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from tests.conftest import DevServer, free_port
from tests.fleet import FleetUnderTest, command_line
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until
from tests.web.browser import BROWSER, browser
from tests.web.deployed import ALERTS, DASHBOARD, queries

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def address(fleet: FleetUnderTest) -> str:
    """Where it serves, once it does."""
    told = fleet.wait(lambda s: s.fleet.http, what="it serves").fleet.http
    assert told is not None
    return told


def get(at: str, path: str, accept: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://{at}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode()


def scrape(at: str) -> Samples:
    samples: Samples = {}
    for family in text_string_to_metric_families(get(at, "/metrics")[1]):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return samples


def total(samples: Samples, name: str, **labels: str) -> float:
    """Of every series that has these labels."""
    wanted = labels.items()
    return sum(value for (called, own), value in samples.items() if called == name and wanted <= set(own))


def web_server(fleet: FleetUnderTest) -> int:
    (found,) = [
        process.pid for process in fleet.remember_all() if command_line(process).endswith(" web server")
    ]
    return found


def test_a_fleet_is_seen_over_http_whatever_befalls_it(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str
) -> None:
    fleet = make_fleet(
        entities=2,
        fleet='http = "127.0.0.1:0"\nmemory_budget = "4GiB"',
        more=f'[pools.idle]\nprogram = "shop"\npath = "{Path(__file__).parents[1] / "programs"}"\n'
        'task_queue = "nobodys"\nentities = 0\n',
    ).start()
    at = address(fleet)
    fleet.wait_running()
    wait_until(lambda: get(at, "/readyz") == (200, "ok\n"), what="each pool polls")
    assert get(at, "/healthz") == (200, "ok\n")
    assert json.loads(get(at, "/readyz", "application/json")[1]) == {"ok": True, "reasons": {}}
    assert get(at, "/nothing")[0] == 404

    # Work, a death, and no counter goes backwards.
    waiting = asyncio.run(_work(dev_server, task_queue))

    def worked() -> Samples | None:
        samples = scrape(at)
        done = total(samples, "temporal_workflow_completed_total", pool="orders")
        return samples if done == 4 and total(samples, "temporal_fleet_entity_tasks_total") >= 12 else None

    before = wait_until(worked, what="all work is in the metrics")
    assert total(before, "temporal_fleet_entity_memory_pss_bytes") > 2 * 5 << 20
    assert total(before, "temporal_fleet_pool_entities", pool="orders", state="ready") == 2
    for victim in fleet.status().entities:
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
    fleet.wait(lambda s: all(e.incarnation > 1 and e.pollers for e in s.entities), what="other lives")
    asyncio.run(_go_on(dev_server, waiting))

    def counted() -> Samples | None:
        samples = scrape(at)
        recovered = total(samples, "temporal_fleet_recovery_duration_seconds_count", pool="orders")
        resurrected = total(samples, "temporal_fleet_resurrection_duration_seconds_count")
        return samples if recovered == 2 and resurrected == 2 else None

    after = wait_until(counted, what="what came back is in the metrics")
    assert total(after, "temporal_fleet_entity_resurrections_total", pool="orders") == 2
    assert total(after, "temporal_fleet_entity_restarts_total", pool="orders", cause="crash") == 2
    assert total(after, "temporal_fleet_events_total", kind="entity.died") == 2
    backwards = {
        key: (value, after.get(key))
        for key, value in before.items()
        if key[0].endswith(("_total", "_count", "_bucket")) and after.get(key, -1.0) < value
    }
    assert backwards == {}, "counters went backwards, or are gone"
    _check_names(after)
    _check_promtool(get(at, "/metrics")[1])

    # The web server dies: the fleet does not mind, and it is back, at a port of its own.
    os.kill(web_server(fleet), signal.SIGKILL)
    fleet.wait(lambda s: s.fleet.http not in (None, at), what="another web server")
    at = address(fleet)
    assert get(at, "/healthz")[0] == 200

    # The supervisor hangs.
    fleet.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: get(at, "/healthz")[0] == 503, what="it is told")
        assert get(at, "/healthz")[1] == "supervisor: its loop has not answered for 2 s\n"
        hung = scrape(at)
        assert hung["temporal_fleet_supervisor_answers", frozenset()] == 0
        assert total(hung, "temporal_workflow_completed_total") >= 4
        assert "The supervisor does not answer" in get(at, "/")[1]
    finally:
        fleet.signal(signal.SIGCONT)
    wait_until(lambda: get(at, "/readyz")[0] == 200, what="it goes on")

    # Another address by a reload, taken at first, then free; and none.
    with socket.create_server(("127.0.0.1", free_port())) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        fleet.edit('http = "127.0.0.1:0"', f'http = "{taken}"')
        assert (
            f"~ http change: 127.0.0.1:0 -> {taken}: applied without a restart"
            in fleet.command("plan").stdout
        )
        assert fleet.command("reload").returncode == 0
        refused = fleet.wait(lambda s: s.fleet.http_reason.endswith("tried again"), what="it is told")
        assert (refused.fleet.state, refused.fleet.http) == ("running", None)
        assert "the port is taken" in fleet.command("status").stdout
    fleet.wait(lambda s: s.fleet.http == taken, what="it serves once the port is free")
    fleet.edit(f'http = "{taken}"\n', "")
    assert fleet.command("reload").returncode == 0
    wait_until(lambda: not _listens(taken), what="it serves no more")
    assert fleet.status().fleet.http is None
    assert fleet.stop() == 0
    assert "Traceback" not in fleet.log_text()


@pytest.mark.skipif(BROWSER is None, reason="there is no browser (Debian: apt-get install chromium)")
def test_the_page_in_a_browser_with_and_without_javascript(make_fleet: MakeFleet, tmp_path: Path) -> None:
    fleet = make_fleet(entities=2, fleet='http = "127.0.0.1:0"').start()
    at = address(fleet)
    fleet.wait_running()
    # A chart needs two moments.
    wait_until(lambda: "<polyline" in get(at, "/")[1], what="a chart")
    with browser(tmp_path) as page:
        page.go(f"http://{at}/", script=False)
        plain = page.html()
        for text in ("orders-1", "orders-2", "<polyline", "entity.ready", "running"):
            assert text in plain, text
        assert "data-fresh" not in plain
        assert 'aria-pressed="false" hidden' in plain, "a button that does nothing is shown"

        page.go(f"http://{at}/", dark=True)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 20, 23)"
        assert page.evaluate("document.getElementById('pause').hidden") is False
        victim = fleet.entity("orders-2").pid
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: "entity.died" in page.html(), what="the page shows the death by itself")
        assert page.evaluate("document.querySelectorAll('svg').length") >= 2
        page.evaluate("document.getElementById('pause').click()")
        assert page.evaluate("document.getElementById('pause').ariaPressed") == "true"
        assert page.complaints == []
        page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'x=1'}))")
        assert page.evaluate("typeof x") == "undefined", "a foreign script was run"
        assert "Content Security Policy" in "".join(page.complaints)
    assert fleet.stop() == 0


async def _work(server: DevServer, task_queue: str) -> list[str]:
    """Four errands are done, and two orders wait: their ids."""
    client = await Client.connect(server.address)
    waiting = [f"{task_queue}-order-{number}" for number in range(2)]
    for order in waiting:
        await client.start_workflow("Order", 0.0, id=order, task_queue=task_queue)
    for number in range(4):
        errand = f"{task_queue}-errand-{number}"
        await client.execute_workflow("Errand", args=["ship", 0.0], id=errand, task_queue=task_queue)
    return waiting


async def _go_on(server: DevServer, waiting: list[str]) -> None:
    client = await Client.connect(server.address)
    for order in waiting:
        await client.get_workflow_handle(order).signal("pay")
    for order in waiting:
        await client.get_workflow_handle(order).result()


def _listens(at: str) -> bool:
    host, _, port = at.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def _check_names(samples: Samples) -> None:
    """Whatever the dashboard and the alerts name is there."""
    there = {name for name, _ in samples}
    texts = [ALERTS.read_text(), *queries(json.loads(DASHBOARD.read_text()))]
    # In queries alone: what an alert says to a reader names commands too.
    used = {name for text in texts for name in re.findall(r"\b(temporal_\w+)", text)}
    assert len(used) > 30
    assert used <= there, f"nobody exports {sorted(used - there)}"


def _check_promtool(text: str) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        return
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    # 3: it is well-formed, and promtool would name something otherwise: what the SDK named, not we.
    assert checked.returncode in (0, 3), checked.stderr
    assert "temporal_fleet_" not in checked.stdout + checked.stderr
