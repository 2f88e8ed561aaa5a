"""The fleet over HTTP: health, metrics and the page of a real fleet, with and without trouble."""

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from temporal_fleet.protocol.report import StatusReport
from tests.conftest import DevServer
from tests.faults.observing import run_errand
from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until

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
        process.pid
        for process in fleet.remember_all()
        if "temporal_fleet.supervisor.web" in " ".join(process.cmdline())
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
    for _ in range(4):
        run_errand(dev_server, task_queue, "ship")

    def worked() -> Samples | None:
        samples = scrape(at)
        done = total(samples, "temporal_workflow_completed_total", pool="orders")
        return samples if done == 4 and total(samples, "temporal_fleet_entity_tasks_total") >= 12 else None

    before = wait_until(worked, what="all work is in the metrics")
    assert total(before, "temporal_fleet_entity_memory_pss_bytes") > 2 * 5 << 20
    assert total(before, "temporal_fleet_pool_entities", pool="orders", state="ready") == 2
    victim = fleet.entity("orders-1")
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    fleet.wait(lambda s: _is_new(s, victim.incarnation), what="another life")

    def counted() -> Samples | None:
        samples = scrape(at)
        recovered = total(samples, "temporal_fleet_recovery_duration_seconds_count", pool="orders")
        polls = total(samples, "temporal_num_pollers", entity="orders-1")
        return samples if recovered and polls else None

    after = wait_until(counted, what="the recovery is in the metrics")
    assert total(after, "temporal_fleet_entity_restarts_total", pool="orders", cause="crash") == 1
    assert total(after, "temporal_fleet_events_total", kind="entity.died") == 1
    backwards = {
        key: (value, after.get(key))
        for key, value in before.items()
        if key[0].endswith(("_total", "_count", "_bucket")) and after.get(key, -1.0) < value
    }
    assert backwards == {}, "counters went backwards, or are gone"
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
        assert total(hung, "temporal_workflow_completed_total") == 4
        assert "The supervisor does not answer" in get(at, "/")[1]
    finally:
        fleet.signal(signal.SIGCONT)
    wait_until(lambda: get(at, "/readyz")[0] == 200, what="it goes on")

    # Another address by a reload, taken at first, then free; and none.
    with socket.create_server(("127.0.0.1", 0)) as other:
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


def _is_new(report: StatusReport, incarnation: int) -> bool:
    return any(e.id == "orders-1" and e.incarnation > incarnation and e.pollers for e in report.entities)


def _listens(at: str) -> bool:
    host, _, port = at.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


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
