"""What an entity measures: the SDK's own metrics, compared with what the SDK's own exporter makes of the same
work; and the file that outlives it."""

import asyncio
import multiprocessing
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.runtime import (
    MetricBuffer,
    MetricBufferDurationFormat,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from temporal_fleet.entity import metrics as entity_metrics
from temporal_fleet.entity.metrics import EntityMetrics
from temporal_fleet.protocol.metrics import read_metrics, write_metrics
from temporal_fleet.supervisor.web.exposition import Measured, exposition
from tests.conftest import DevServer, free_port
from tests.web.reports import ORDERS_1, of

Exported = dict[str, tuple[str, frozenset[str]]]
"""By name: the kind, and the bounds of its buckets."""


@activity.defn
def measure() -> None:
    meter = activity.metric_meter()
    meter.create_counter("my_parcels", "Parcels", "parcels").add(2, {"size": "large", "fragile": True})
    meter.create_histogram_timedelta("my_wait", "How long", "duration").record(timedelta(seconds=0.7))
    meter.create_histogram_float("my_weight").record(0.7)
    meter.create_gauge_float("my_level").set(0.5)
    meter.create_counter("temporal_fleet_state").add(7)


@workflow.defn
class Measures:
    @workflow.run
    async def run(self) -> None:
        within = timedelta(seconds=10)
        await workflow.execute_local_activity(measure, start_to_close_timeout=within)
        await workflow.execute_activity(measure, start_to_close_timeout=within)


async def work(address: str, queue: str, telemetry: TelemetryConfig) -> None:
    client = await Client.connect(address, runtime=Runtime(telemetry=telemetry))
    worker = Worker(
        client,
        task_queue=queue,
        workflows=[Measures],
        activities=[measure],
        activity_executor=ThreadPoolExecutor(2),
        workflow_runner=UnsandboxedWorkflowRunner(),
        build_id="tests",
    )
    async with worker:
        await client.execute_workflow(Measures.run, id=queue, task_queue=queue)


def exported(text: str) -> Exported:
    return {
        family.name: (
            family.type,
            frozenset(str(float(s.labels["le"])) for s in family.samples if s.name.endswith("_bucket")),
        )
        for family in text_string_to_metric_families(text)
        if not family.name.startswith("temporal_fleet_")
    }


def test_every_metric_has_the_name_the_kind_and_the_buckets_of_the_sdks_own_exporter(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    # The threads of the SDK's runtimes may abort a process in which one of them has ended.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        pool.apply(in_a_process_of_its_own, (dev_server.address, task_queue, tmp_path))


def in_a_process_of_its_own(address: str, task_queue: str, folder: Path) -> None:
    asyncio.run(compare(address, task_queue, folder))


async def compare(address: str, task_queue: str, tmp_path: Path) -> None:
    port = free_port()
    by_the_sdk = PrometheusConfig(
        bind_address=f"127.0.0.1:{port}",
        counters_total_suffix=True,
        unit_suffix=True,
        durations_as_seconds=True,
    )
    await work(address, f"{task_queue}-a", TelemetryConfig(metrics=by_the_sdk, attach_service_name=False))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        theirs = exported(response.read().decode())

    buffer = MetricBuffer(4096, MetricBufferDurationFormat.SECONDS)
    await work(address, f"{task_queue}-b", TelemetryConfig(metrics=buffer, attach_service_name=False))
    measured = EntityMetrics(tmp_path / "orders-1.metrics", "orders-1", 1)
    for update in buffer.retrieve_updates():
        measured.take(update)
    measured.close()
    file = read_metrics(tmp_path / "orders-1.metrics")
    assert file.dropped == 2, "a program spoke for the fleet"
    shown = Measured(True, of(replace(ORDERS_1, incarnation=1)), [], {"orders-1": file}, {})
    ours = exported(exposition(shown, "")[0].decode())
    # The SDK calls it so, and its exporter says it twice.
    theirs["temporal_local_activity"] = theirs.pop("temporal_local_activity_total")
    # Whether a poll comes back empty before the Worker ends, or is tried again, differs from run to run.
    by_chance = {name for name in ours.keys() ^ theirs.keys() if "poll" in name or "request" in name}
    assert {name: of for name, of in ours.items() if name not in by_chance} == {
        name: of for name, of in theirs.items() if name not in by_chance
    }
    labels = [
        series.labels for family in file.families if family.name == "my_parcels" for series in family.series
    ]
    assert labels[0]["fragile"] == "true"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orders-1.metrics"


def tasks(path: Path) -> float:
    (family,) = read_metrics(path).families
    return family.series[0].value


def test_a_life_goes_on_from_the_one_before(path: Path) -> None:
    first = EntityMetrics(path, "orders-1", 1)
    first.count("tasks", 3)
    first.count("tasks", 5)
    first.close()
    assert tasks(path) == 5
    second = EntityMetrics(path, "orders-1", 2)
    second.count("tasks", 1)
    second.close()
    assert (tasks(path), read_metrics(path).incarnation) == (6, 2)


def test_it_is_written_when_something_is_new_and_not_more_often_than_it_should(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def write(where: Path, encoded: bytes, sequence: int) -> None:
        written.append(encoded)
        write_metrics(where, encoded, sequence)

    monkeypatch.setattr(entity_metrics, "write_metrics", write)
    metrics = EntityMetrics(path, "orders-1", 1)
    metrics.write(100.0)
    assert written == []
    for moment, so_far in ((100.1, 1), (100.2, 2), (102.2, 2), (104.3, 2)):
        metrics.count("tasks", so_far)
        metrics.write(moment)
    assert len(written) == 2
    assert tasks(path) == 2


@pytest.mark.parametrize("content", [b"rubbish", None])
def test_a_file_that_cannot_be_read_or_written_costs_the_numbers_alone(
    path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    metrics = EntityMetrics(path, "orders-1", 2)
    assert "its metrics begin anew" in caplog.text
    for so_far, moment in ((1, 0.0), (2, 10.0), (3, 20.0)):
        metrics.count("tasks", so_far)
        metrics.write(moment)
    metrics.close()
    if content is None:
        assert caplog.text.count("cannot be written") == 1
    else:
        assert tasks(path) == 3
