"""The container as docs/container.md makes it, and what becomes of its work when it is killed."""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client

from tests.conftest import DevServer
from tests.container.engine import Engine, NoEngine
from tests.pages import blocks, lines, sections
from tests.waiting import eventually, wait_until
from tests.wheels import REPOSITORY, build_wheel

PAGE = sections((REPOSITORY / "docs" / "container.md").read_text())
CONTAINERFILE = REPOSITORY / "deploy" / "container" / "Containerfile"
_NAMES_ITS_FILE = re.compile(r"# (\S+)\n")


class Operator:
    """Somebody who follows the page."""

    def __init__(self, engine: Engine, folder: Path, cluster: str) -> None:
        self._engine = engine
        self._folder = folder
        self.queue = f"container-{uuid4().hex[:8]}"
        self._instead = {
            "temporal.example:7233": cluster,
            'task_queue = "orders"': f'task_queue = "{self.queue}"',
            # The network is the host's, and others test there.
            "0.0.0.0:9464": "127.0.0.1:0",
        }
        self.built = self.follow("Build the image")

    def follow(self, heading: str) -> dict[str, str]:
        """Do what a section says. What each command printed."""
        printed = {}
        for language, block in blocks(PAGE[heading]):
            if language == "sh":
                for line in lines(block):
                    # What it finds wrong may be this host's.
                    printed[line] = self.type(line, check="doctor" not in line)
            elif named := _NAMES_ITS_FILE.match(block):
                for there, here in self._instead.items():
                    block = block.replace(there, here)  # noqa: PLW2901
                path = self._folder / named[1]
                path.parent.mkdir(exist_ok=True)
                path.write_text(block)
        return printed

    def type(self, line: str, *, check: bool = True) -> str:
        return self._engine.run("sh", "-c", line, check=check, cwd=self._folder)

    def wait_ready(self, entities: int) -> None:
        def ready() -> bool:
            printed = self.type("podman exec shop temporal-fleet status --json", check=False)
            try:
                report = json.loads(printed)
            except ValueError:
                return False
            states = [entity["state"] for entity in report["entities"]]
            return states == ["ready"] * entities

        try:
            wait_until(ready, within=60, what=f"{entities} entities are ready")
        except AssertionError as error:
            error.add_note(self.type("podman logs shop", check=False))
            raise


@pytest.fixture(scope="module")
def image(dev_server: DevServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    wheels = tmp_path_factory.mktemp("wheels")
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", CONTAINERFILE.read_text(), flags=re.MULTILINE)
    assert base is not None
    # Short: sockets are made below it.
    with tempfile.TemporaryDirectory(prefix="tf-") as name:
        folder = Path(name)
        try:
            with Engine(folder, base[1], wheels) as engine:
                build_wheel(tmp_path_factory.mktemp("source"), wheels)
                (folder / "deploy").symlink_to(REPOSITORY / "deploy")
                yield Operator(engine, folder, dev_server.address)
        except NoEngine as why:
            pytest.skip(str(why))


@pytest.fixture
def operator(image: Operator) -> Iterator[Operator]:
    yield image
    image.type("podman rm --force --ignore --time 0 shop")
    image.type("podman volume rm --force shop-run shop-state")


def test_the_page_is_followed(operator: Operator) -> None:
    needed = re.search(r"a stop may take (\d+) s", operator.built["podman run --rm shop check"])
    given = re.search(r"--stop-timeout (\d+) ", PAGE["Run it"])
    assert needed is not None
    assert given is not None
    assert int(given[1]) >= int(needed[1])
    operator.follow("Run it")
    operator.wait_ready(2)
    printed = operator.follow("Look at it")
    assert "supervisor PID 1," in printed["podman exec shop temporal-fleet status"]
    assert "memory of the control group" in printed["podman exec shop temporal-fleet doctor"]
    assert '"kind": "entity.ready"' in printed["podman logs shop"]
    operator.follow("Change it")
    operator.wait_ready(3)
    operator.type("podman stop shop")
    assert operator.type("podman inspect --format '{{.State.ExitCode}}' shop").strip() == "0"
    assert '"kind": "fleet.stopped"' in operator.type("podman logs shop")
    operator.follow("Stop it")


async def test_what_a_killed_container_held_goes_on_in_the_next(
    operator: Operator, dev_server: DevServer
) -> None:
    client = await Client.connect(dev_server.address)
    operator.follow("Run it")
    operator.wait_ready(2)
    handle = await client.start_workflow("Order", 600.0, id=operator.queue, task_queue=operator.queue)

    async def runs(attempt: int) -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        started = PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        return any((each.state, each.attempt) == (started, attempt) for each in pending)

    await eventually(lambda: runs(1), within=60, what="the activity runs")
    (held,) = (await handle.describe()).raw_description.pending_activities
    # Others have this PID, too, and may have this host name.
    assert re.fullmatch(r"shop/orders-\d\.1@shop:\d+-[0-9a-f]{6}", held.last_worker_identity)
    operator.type("podman kill shop")
    operator.type("podman rm shop")
    operator.follow("Run it")
    # Its time-out is 5 minutes.
    await eventually(lambda: runs(2), within=60, what="it is tried again")
    await handle.terminate()
