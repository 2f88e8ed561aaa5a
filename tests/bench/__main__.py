"""`python -m tests.bench`: measures everything, prints it. What is measured, and in which order."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from tests.bench.activations import measure_activations
from tests.bench.fleets import bench_fleet
from tests.bench.handovers import measure_handovers
from tests.bench.hoards import measure_hoards
from tests.bench.losses import measure_losses
from tests.bench.processes import MIB, mean_pss, processor_seconds, rss
from tests.bench.program import Program, heavy, shop
from tests.bench.results import Result, as_json, as_table
from tests.bench.resurrections import measure_resurrections
from tests.bench.workers import plain_workers
from tests.conftest import end_process, free_port, start_dev_server

_PARTS = ("shop", "heavy", "activations", "losses", "handovers", "hoards", "resurrections")
_ENTITIES = 32
_IDLE_ENTITIES = 50
_IDLE_S = 20.0
_PLAIN_RESTARTS = 5
_HEAVY_IMPORTS = ("pandas", "numpy", "pydantic", "boto3", "sqlalchemy")

_progress = Console(stderr=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--executions", type=int, default=5000, help="open at once, in one entity")
    parser.add_argument("--only", action="append", choices=_PARTS, help="a part alone; may be repeated")
    arguments = parser.parse_args()
    parts = arguments.only or _PARTS
    # Beside somebody else's work every number here is that work's too.
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as name, _cluster(Path(name)) as address:
        root = Path(name)
        measures: dict[str, Callable[[], list[Result]]] = {
            "shop": lambda: _measure_shop(address, root / "shop"),
            "heavy": lambda: [_measure_heavy(address, root)],
            "activations": measure_activations,
            "losses": lambda: measure_losses(address, root),
            "handovers": lambda: measure_handovers(address, root / "handovers"),
            "hoards": lambda: measure_hoards(address, root / "hoards"),
            "resurrections": lambda: measure_resurrections(address, root / "ledgers", arguments.executions),
        }
        results = [result for part in parts for result in measures[part]()]
    if arguments.json:
        print(json.dumps({"load_average_before": load, "results": as_json(results)}, indent=2))
    else:
        Console().print(
            as_table(results), f"Load average before: {load:.2f}, on {os.cpu_count()} processors."
        )


@contextmanager
def _cluster(folder: Path) -> Iterator[str]:
    port = free_port()
    server = start_dev_server(port, folder / "dev-server.log")
    try:
        yield f"127.0.0.1:{port}"
    finally:
        end_process(server)


def _measure_shop(address: str, folder: Path) -> list[Result]:
    program, environment = shop(), dict(os.environ)
    _progress.print(f"{_ENTITIES} plain workers …")
    with plain_workers(program, address, _ENTITIES, environment) as plain:
        plain_boot, plain_pss = plain.seconds, mean_pss(plain.pids)
    restarts = []
    for _ in range(_PLAIN_RESTARTS):
        with plain_workers(program, address, 1, environment) as plain:
            restarts.append(plain.seconds)
    _progress.print(f"a fleet of {_ENTITIES} …")
    with bench_fleet(program, address, folder, environment) as fleet:
        boot = fleet.boot_seconds(_ENTITIES)
        pss = mean_pss(list(fleet.entities().values()))
        _progress.print("kill -9, one entity after the other …")
        # Each entity once: the first death of a life is restarted without a pause, as any healthy one is.
        kills = [fleet.kill_seconds(entity, pid) for entity, pid in fleet.entities().items()]
        _progress.print(f"{_IDLE_ENTITIES} idle entities for {_IDLE_S:.0f} s …")
        fleet.scale(_IDLE_ENTITIES)
        before = processor_seconds(fleet.supervisor)
        time.sleep(_IDLE_S)
        load = (processor_seconds(fleet.supervisor) - before) / _IDLE_S
        memory = rss(fleet.supervisor)
    return [
        Result(f"{_ENTITIES} workers until the last is ready", boot, plain_boot, "s", 0.6),
        Result(
            f"kill -9 until the next is ready, median of {len(kills)}",
            statistics.median(kills) * 1000,
            statistics.median(restarts) * 1000,
            "ms",
            30,
        ),
        Result(f"PSS of each of {_ENTITIES}", pss / MIB, plain_pss / MIB, "MiB", 0.36, relative=True),
        Result(f"supervisor of {_IDLE_ENTITIES} idle: of one core", load * 100, None, "%", 1),
        Result(f"supervisor of {_IDLE_ENTITIES} idle: RSS", memory / MIB, None, "MiB", 60),
    ]


def _measure_heavy(address: str, folder: Path) -> Result:
    name = f"PSS of each of {_ENTITIES}, with {', '.join(_HEAVY_IMPORTS)}"
    _progress.print(f"installing {', '.join(_HEAVY_IMPORTS)} into a throwaway folder …")
    packages = folder / "packages"
    # pydantic is there already, and must be the one that the supervisor's process has.
    wanted = [module for module in _HEAVY_IMPORTS if module != "pydantic"]
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages), *wanted]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "pip failed"
        return Result(name, None, None, "MiB", 0.16, relative=True, skipped=reason)
    environment = {**os.environ, "PYTHONPATH": str(packages), "BENCH_IMPORTS": " ".join(_HEAVY_IMPORTS)}
    program = heavy()
    _progress.print(f"{_ENTITIES} plain workers, then a fleet, of that program …")
    plain = _plain_pss(program, address, environment)
    with bench_fleet(program, address, folder / "heavy", environment) as fleet:
        fleet.scale(_ENTITIES)
        pss = mean_pss(list(fleet.entities().values()))
    return Result(name, pss / MIB, plain / MIB, "MiB", 0.16, relative=True)


def _plain_pss(program: Program, address: str, environment: Mapping[str, str]) -> float:
    with plain_workers(program, address, _ENTITIES, environment) as plain:
        return mean_pss(plain.pids)


if __name__ == "__main__":
    main()
