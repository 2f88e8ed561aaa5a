"""Fixtures of the entity's tests: a run directory, a bus, entities forked by a real fork server."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from temporalio.client import Client, WorkflowHandle

from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec
from tests.conftest import DevServer
from tests.entity.lives import Bus, Life, Nursery, entity_spec, program_spec, set_subreaper
from tests.waiting import wait_until

T = TypeVar("T")


class Cluster:
    """A client of the dev server for tests that do not run in an event loop themselves."""

    def __init__(self, server: DevServer) -> None:
        self.spec = ClusterSpec(address=server.address, namespace=server.namespace)
        self._runner = asyncio.Runner()
        self.client = self.run(Client.connect(server.address, namespace=server.namespace))

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(coroutine)

    def start(self, workflow: str, workflow_id: str, task_queue: str, *args: Any) -> WorkflowHandle[Any, Any]:
        return self.run(
            self.client.start_workflow(workflow, args=args, id=workflow_id, task_queue=task_queue)
        )

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(scope="module")
def cluster(dev_server: DevServer) -> Iterator[Cluster]:
    cluster = Cluster(dev_server)
    yield cluster
    cluster.close()


@pytest.fixture(scope="module")
def subreaper() -> Iterator[None]:
    set_subreaper(True)
    yield
    set_subreaper(False)


@pytest.fixture(scope="module")
def nursery(subreaper: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    nursery = Nursery(program_spec("unused"), tmp_path_factory.mktemp("nursery") / "log")
    yield nursery
    nursery.end()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "entities").mkdir()
    return tmp_path


@pytest.fixture
def bus(run_dir: Path) -> Iterator[Bus]:
    bus = Bus(run_dir)
    yield bus
    bus.close()


Fork = Callable[..., Life]


@pytest.fixture
def fork(nursery: Nursery, run_dir: Path, cluster: Cluster, task_queue: str) -> Iterator[Fork]:
    """Fork an entity of `life_program`; keyword arguments are those of `entity_spec`, and `program` those of
    `program_spec`."""
    lives: list[Life] = []

    def fork(
        where: ClusterSpec = cluster.spec, program: dict[str, Any] | None = None, **changes: Any
    ) -> Life:
        spec: EntitySpec = entity_spec(run_dir, program_spec(task_queue, **(program or {})), where, **changes)
        life = nursery.fork(spec)
        lives.append(life)
        return life

    yield fork
    for life in lives:
        life.end()


@pytest.fixture
def fork_program(
    subreaper: None, run_dir: Path, cluster: Cluster, task_queue: str, tmp_path: Path
) -> Iterator[Callable[..., Life]]:
    """Fork an entity of this program from a fork server of its own; keyword arguments are those of
    `entity_spec`."""
    nurseries: list[Nursery] = []

    def fork_program(program: str, **changes: Any) -> Life:
        spec = program_spec(task_queue, program=program)
        nurseries.append(Nursery(spec, tmp_path / "log"))
        return nurseries[-1].fork(entity_spec(run_dir, spec, cluster.spec, **changes))

    yield fork_program
    for nursery in nurseries:
        nursery.end()


@pytest.fixture
def started(tmp_path: Path) -> Callable[[str], Path]:
    """Wait until the activity that was given this name runs; the path lets it go when it is created."""

    def started(name: str) -> Path:
        path = tmp_path / name
        wait_until(Path(f"{path}.running").exists, what=f"the activity that waits for {name}")
        return path

    return started
