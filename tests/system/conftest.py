"""Fixtures of the tests with a real supervisor, real entities and a real dev server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import DevServer
from tests.fleet import PROGRAMS, FleetUnderTest

MakeFleet = Callable[..., FleetUnderTest]


@pytest.fixture
def make_fleet(tmp_path: Path, dev_server: DevServer, task_queue: str) -> Iterator[MakeFleet]:
    """A maker of fleets on the run's dev server: `make_fleet(entities=2, pool="drain = '1s'")`.

    The pool is `orders`, on the test's own task queue; `more` is text after it, `program` one of
    tests/programs.
    """
    with ExitStack() as stack:

        def make(
            *,
            entities: int = 1,
            program: str = "shop",
            pool: str = "",
            fleet: str = "",
            cluster: str | None = None,
            more: str = "",
            environment: dict[str, str] | None = None,
        ) -> FleetUnderTest:
            where = cluster if cluster is not None else f'[cluster]\naddress = "{dev_server.address}"'
            config = (
                f'[fleet]\nname = "test"\nrun_dir = "run"\nstate_dir = "state"\n{fleet}\n{where}\n'
                f'[pools.orders]\nprogram = "{program}"\npath = "{PROGRAMS}"\n'
                f'task_queue = "{task_queue}"\nentities = {entities}\n{pool}\n{more}\n'
            )
            return stack.enter_context(FleetUnderTest(tmp_path, config, environment))

        yield make
