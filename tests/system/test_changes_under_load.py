"""A running fleet is changed at random, again and again, by good changes and by bad ones, with deaths in the
middle of them, while it does all kinds of work: no execution fails, none is lost, and at the end the fleet is
what its file says."""

import asyncio
import json
import random
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from temporalio.client import Client

from tests.conftest import DevServer
from tests.fleet import PROGRAMS, FleetUnderTest, is_agent, is_fork
from tests.marks import MARK, nothing_left
from tests.system.conftest import MakeFleet
from tests.voyages import sail_on

ENTITIES = 3
UNDER_WAY = 4
"""Voyages at a time."""

Kind = TypeVar("Kind")

# The kills come from outside: whoever was in hand at three of them is no poison.
POOL = (
    'poison_after = 0\nrestart = { max_restarts = 10000, backoff = "10ms", backoff_max = "50ms" }\n'
    'after_fork = "voyage:after_fork"\nworker = { max_cached_workflows = 100 }'
)
ASIDE = f'[pools.aside]\nprogram = "shop"\npath = "{PROGRAMS}"\ntask_queue = "aside"\n'
BOOT = """

def after_fork() -> None:
    Path(os.environ["EDITIONS"], str(os.getpid())).write_text("{edition}")
"""


class Operator:
    """Changes one fleet and its files, and knows what must come of each change."""

    def __init__(self, fleet: FleetUnderTest, source: Path, editions: Path, chance: random.Random) -> None:
        self._fleet = fleet
        self._program = source / "voyage.py"
        self._editions = editions
        self._chance = chance
        self._edition = 0
        changes: list[Callable[[], Awaitable[None]]] = [
            self._new_code,
            self._roll_with_a_death,
            self._roll_with_a_death,
            self._code_that_does_not_import,
            self._code_that_does_not_boot,
            self._broken_config,
            self._other_settings,
            self._scale,
            self._to_zero_and_back,
            self._drain_and_resume,
            self._several_at_once,
            self._kill,
        ]
        self._changes = _again_and_again(changes, chance)
        self._victims = _again_and_again(["entity", "fork server", "agent"], chance)
        self.done: list[str] = []
        self.write_code()

    async def change(self) -> None:
        chosen = next(self._changes)
        self.done.append(chosen.__name__.strip("_"))
        await chosen()

    def write_code(self) -> None:
        """Another edition of the program, which each of its entities writes down."""
        self._edition += 1
        code = (PROGRAMS / "voyage.py").read_text()
        self._program.write_text(code + BOOT.format(edition=self._edition))

    def assert_what_the_file_says(self) -> None:
        wanted = int(self._setting("entities"))
        report = self._fleet.wait(
            lambda s: s.fleet.state == "running" and len(s.entities) == wanted + 1, what=f"{wanted} entities"
        )
        plan = self._fleet.command("plan", "--json")
        assert plan.returncode == 0, plan.stderr
        assert {step["action"] for step in json.loads(plan.stdout)["steps"]} == {"keep"}, plan.stdout
        pids = [entity.pid for entity in report.entities if entity.pool == "orders"]
        editions = [(self._editions / str(pid)).read_text() for pid in pids]
        assert editions == [str(self._edition)] * wanted

    async def _new_code(self) -> None:
        self.write_code()
        await self._command("reload")

    async def _roll_with_a_death(self) -> None:
        self.write_code()
        roll = asyncio.create_task(self._command(*self._chance.choice([("reload",), ("restart", "orders")])))
        await asyncio.sleep(self._chance.uniform(0.2, 1.2))
        await self._kill()
        await roll

    async def _code_that_does_not_import(self) -> None:
        with _changed(self._program, lambda code: f"{code}\nraise RuntimeError('half written')\n"):
            await self._command("reload", says="half written")

    async def _code_that_does_not_boot(self) -> None:
        with _changed(self._program, lambda code: f"{code}    raise RuntimeError('no boot')\n"):
            await self._command("reload", says="no boot")

    async def _broken_config(self) -> None:
        with _changed(self._fleet.config, lambda text: text.replace("poison_after", "poisson_after")):
            await self._command("reload", says="poisson_after")

    async def _other_settings(self) -> None:
        name = "max_cached_workflows"
        self._fleet.edit(f"{name} = {self._setting(name)}", f"{name} = {self._chance.randint(10, 200)}")
        await self._command("reload")

    async def _scale(self) -> None:
        await self._command("scale", f"orders={self._chance.randint(1, ENTITIES + 1)}")

    async def _to_zero_and_back(self) -> None:
        await self._command("scale", "orders=0")
        await self._scale()

    async def _drain_and_resume(self) -> None:
        await self._command("drain", "orders")
        await self._command("resume", "orders")

    async def _several_at_once(self) -> None:
        """The newest wish wins, and whoever asked for another is told so."""
        self.write_code()
        size = f"orders={self._chance.randint(1, ENTITIES + 1)}"
        async with asyncio.TaskGroup() as group:
            for words in self._chance.sample([("reload",), ("restart", "orders"), ("scale", size)], k=3):
                group.create_task(self._command(*words, or_says="superseded"))
                await asyncio.sleep(self._chance.uniform(0.0, 0.5))

    async def _kill(self) -> None:
        entities = {entity.pid for entity in self._fleet.status().entities if entity.pool == "orders"}
        aside = {entity.pid for entity in self._fleet.status().entities if entity.pool == "aside"}
        helpers = [process for process in self._fleet.remember_all() if process.pid not in entities | aside]
        kinds = {
            "entity": [pid for pid in entities if pid is not None],
            "fork server": [process.pid for process in helpers if is_fork(process)],
            "agent": [process.pid for process in helpers if is_agent(process)],
        }
        kind = next(self._victims)
        if not kinds[kind]:
            return
        victim = self._chance.choice(sorted(kinds[kind]))
        self.done.append(f"kill -9 of {kind} {victim}")
        with suppress(psutil.NoSuchProcess):
            psutil.Process(victim).kill()

    async def _command(self, *words: str, says: str = "", or_says: str = "") -> None:
        """It succeeds; or, where it is to say something, it fails and says that."""
        done = await asyncio.to_thread(self._fleet.command, *words, within=120)
        told = f"{' '.join(words)} (exit status {done.returncode}): {done.stdout}{done.stderr}"
        assert done.returncode == 0 or says or or_says, told
        assert done.returncode == 1 or not says, told
        assert done.returncode == 0 or (says or or_says) in done.stderr, told

    def _setting(self, name: str) -> str:
        found = re.search(rf"\b{name} = (\d+)", self._fleet.config.read_text())
        assert found is not None
        return found[1]


def _again_and_again(kinds: Sequence[Kind], chance: random.Random) -> Iterator[Kind]:
    """Each of them once in random order, then again: none is left out for long."""
    while True:
        yield from chance.sample(kinds, k=len(kinds))


@contextmanager
def _changed(file: Path, change: Callable[[str], str]) -> Iterator[None]:
    before = file.read_text()
    file.write_text(change(before))
    yield
    file.write_text(before)


@pytest.fixture
def changes(request: pytest.FixtureRequest) -> int:
    number: int = request.config.getoption("--changes")
    return number


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.config.getoption("--changes-seed"))


@pytest.fixture
def no_process_is_left(tmp_path: Path) -> Iterator[None]:
    with nothing_left(tmp_path):
        yield


def _pid_aside(fleet: FleetUnderTest) -> int | None:
    return fleet.entity("aside-1").pid


@pytest.mark.timeout(600)
async def test_random_changes_under_load_cost_no_execution_and_end_as_the_file_says(
    no_process_is_left: None,
    make_fleet: MakeFleet,
    dev_server: DevServer,
    task_queue: str,
    tmp_path: Path,
    changes: int,
    chance: random.Random,
) -> None:
    source, editions = tmp_path / "source", tmp_path / "editions"
    source.mkdir()
    editions.mkdir()
    environment = {"VOYAGE_LOG": str(tmp_path / "voyages"), "EDITIONS": str(editions), MARK: str(tmp_path)}
    fleet = make_fleet(entities=ENTITIES, program="voyage", pool=POOL, more=ASIDE, environment=environment)
    # The first `path` is that of the pool whose program is changed.
    text = fleet.config.read_text()
    fleet.config.write_text(text.replace(f'path = "{PROGRAMS}"', f'path = "{source}"', 1))
    operator = Operator(fleet, source, editions, chance)
    fleet.start().wait_running()
    aside = _pid_aside(fleet)
    client = await Client.connect(dev_server.address)
    over = asyncio.Event()
    seeds = iter(range(1_000_000))
    try:
        async with asyncio.TaskGroup() as group:
            crews = [group.create_task(sail_on(client, task_queue, seeds, over)) for _ in range(UNDER_WAY)]
            for _ in range(changes):
                await operator.change()
            over.set()
    except BaseException as error:
        error.add_note(f"changes so far: {operator.done}")
        raise
    assert sum(len(crew.result()) for crew in crews) >= UNDER_WAY
    operator.assert_what_the_file_says()
    assert _pid_aside(fleet) == aside, "nobody had asked for a change of this pool"
