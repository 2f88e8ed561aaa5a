"""What the processes of a pool may have of the host, in a real fleet: a user, GPUs, CPUs, limits."""

import os
import resource
import shutil
import signal
from typing import Any

from temporalio.client import Client

from temporal_fleet.protocol.metrics import read_metrics
from tests.conftest import DevServer
from tests.fleet import PROGRAMS, FleetUnderTest
from tests.users import as_root, nobody, public_folder, seen_by_all
from tests.waiting import eventually

FLEET = """\
[fleet]
name = "test"
run_dir = "run"
state_dir = "state"
log_dir = "logs"
gpus = [3, 5]
[cluster]
address = "{address}"
[pools.frugal]
program = "frugal"
task_queue = "{queue}"
entities = 2
rollout = {{ max_surge = 0, max_unavailable = 1 }}
[pools.frugal.resources]
gpus = 1
cpus = "{cpu}"
nice = 5
open_files = 1024
memory_max = "512MiB"
user = "nobody"
[pools.plain]
program = "frugal"
task_queue = "{queue}-plain"
"""

MODESTLY = 'ulimit -Sn 300 && umask 027 && exec "$0" "$@"'


@as_root
async def test_processes_have_what_their_pool_says_and_come_to_nothing_else(
    dev_server: DevServer, task_queue: str
) -> None:
    user, cpu = nobody(), max(os.sched_getaffinity(0))
    config = FLEET.format(address=dev_server.address, queue=task_queue, cpu=cpu)
    client = await Client.connect(dev_server.address)
    asked = 0

    async def ask(queue: str, name: str, argument: Any) -> Any:
        nonlocal asked
        asked += 1
        return await client.execute_workflow(
            "Ask", args=[name, argument], id=f"{queue}-{asked}", task_queue=queue
        )

    with (
        public_folder() as folder,
        FleetUnderTest(folder, config, within=(*seen_by_all(), "sh", "-c", MODESTLY)) as fleet,
    ):
        shutil.copy(PROGRAMS / "frugal.py", folder)
        before = fleet.start().wait_running()
        run, entities = fleet.run_dir, fleet.run_dir.entities
        closed = [run.control, run.events, run.bus, run.books, run.lock, run.path, entities]
        closed += [run.blackbox("plain-1", 1), run.stacks("plain-1", 1), run.metrics("plain-1")]
        plain = await ask(f"{task_queue}-plain", "look", [])
        assert plain["uids"] == [0]
        assert plain["gpus"] is None
        # As its supervisor was begun, which has more for itself.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert (plain["umask"], plain["open_files"]) == (0o027, [300, hard])
        assert resource.prlimit(fleet.pid, resource.RLIMIT_NOFILE) == (hard, hard)

        seen: dict[str, dict[str, Any]] = {}

        async def look() -> bool:
            found = await ask(task_queue, "look", [str(path) for path in closed])
            seen[found.pop("entity")] = found
            return len(seen) == 2

        await eventually(look, what="both were asked")
        told = {entity.id: ",".join(map(str, entity.gpus)) for entity in before.entities}
        assert {name: found.pop("gpus") for name, found in seen.items()} == {
            name: gpus for name, gpus in told.items() if name != "plain-1"
        }
        assert sorted(told.values()) == ["", "3", "5"]
        as_nobody = {
            "at_import": {"uid": user.uid, "gpus": ""},
            "uids": [user.uid],
            "groups": ["nogroup"],
            "home": user.home,
            "user": "nobody",
            "cpus": [cpu],
            "nice": 5,
            "open_files": [1024, 1024],
            "umask": 0o027,
            "memory_max": [512 << 20, 512 << 20],
            "came_to": [],
        }
        assert list(seen.values()) == [as_nobody, as_nobody]
        assert await ask(task_queue, "grow", 100) == str(100 << 20)
        assert await ask(task_queue, "grow", 600) == "MemoryError"
        again = fleet.status()
        assert [e.pid for e in again.entities] == [e.pid for e in before.entities], (
            "a MemoryError is no death"
        )

        # What root does to processes of its own, it does to another user's.
        measured = fleet.command("status", "--json").stdout
        assert '"pss_bytes": null' not in measured
        dumped = fleet.command("dump", "frugal-1")
        assert dumped.returncode == 0, dumped.stderr
        assert "life.py" in dumped.stdout
        assert (folder / "logs" / "nobody" / "fork-server.frugal.log").stat().st_uid == user.uid
        assert (folder / "logs" / "nobody" / "frugal-1.log").stat().st_uid == user.uid
        await eventually(
            lambda: read_metrics(run.metrics("frugal-1")).families, what="what it measured is in its file"
        )

        killed = fleet.entity("frugal-1").pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        fleet.wait(lambda s: s.fleet.state == "running" and s.entities[0].incarnation == 2, what="it is back")
        seen.clear()
        await eventually(look, what="both were asked")
        assert sorted(found["gpus"] for found in seen.values()) == ["3", "5"]

        fleet.edit("gpus = [3, 5]", "gpus = [5, 7]")
        planned = fleet.command("plan").stdout
        assert "[fleet] gpus 3 5 -> 5 7" in planned
        assert "= 1 entity untouched" in planned
        done = fleet.command("reload")
        assert done.returncode == 0, done.stderr
        seen.clear()
        await eventually(look, what="both were asked")
        assert sorted(found["gpus"] for found in seen.values()) == ["5", "7"]

        fleet.edit("gpus = [5, 7]", "gpus = [5]")
        refused = fleet.command("reload")
        assert refused.returncode == 1
        assert "the pools take 2 of [fleet] gpus" in refused.stderr
        assert fleet.stop() == 0
        assert not list(entities.iterdir())
