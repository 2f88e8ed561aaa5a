"""A running fleet takes up new code of its programs where it changed, and nowhere else."""

import asyncio
import uuid
from contextlib import suppress
from pathlib import Path

import psutil
from temporalio.client import Client

from temporal_fleet.protocol.report import StatusReport
from tests.conftest import DevServer
from tests.faults.observing import kill
from tests.fleet import PROGRAMS, FleetUnderTest, command_line, is_alive, is_fork
from tests.system.conftest import MakeFleet
from tests.waiting import wait_until

PROGRAM = """
from temporalio import workflow
@workflow.defn
class Tell:
    @workflow.run
    async def run(self) -> str:
        return "{word}"
"""


def save(folder: Path, name: str, word: str) -> None:
    (folder / f"{name}.py").write_text(PROGRAM.format(word=word))


def two_pools(make_fleet: MakeFleet, folder: Path) -> FleetUnderTest:
    """`orders` on the test's own task queue, and `billing`: each with a program that says `old`."""
    save(folder, "orders", "old")
    save(folder, "billing", "old")
    billing = (
        f'[pools.billing]\nprogram = "billing"\npath = "{folder}"\ntask_queue = "billing-{uuid.uuid4()}"\n'
    )
    fleet = make_fleet(program="orders", entities=2, more=billing)
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{folder}"')
    return fleet


def told(dev_server: DevServer, task_queue: str) -> str:
    async def ask() -> str:
        client = await Client.connect(dev_server.address)
        answer: str = await client.execute_workflow("Tell", id=str(uuid.uuid4()), task_queue=task_queue)
        return answer

    return asyncio.run(ask())


def pids(report: StatusReport, pool: str) -> set[int | None]:
    return {entity.pid for entity in report.entities if entity.pool == pool}


def fork_servers(fleet: FleetUnderTest) -> set[int]:
    return {
        process.pid
        for process in psutil.Process(fleet.pid).children()
        if is_fork(process) and process.pid not in entities(fleet)
    }


def entities(fleet: FleetUnderTest) -> set[int | None]:
    return {entity.pid for entity in fleet.status().entities}


def test_a_reload_rolls_the_pools_whose_code_changed_and_no_others(
    make_fleet: MakeFleet, tmp_path: Path, dev_server: DevServer, task_queue: str
) -> None:
    fleet = two_pools(make_fleet, tmp_path).start()
    before = fleet.wait_running()
    unchanged = fleet.command("reload")
    assert unchanged.returncode == 0, unchanged.stderr
    assert fleet.wait_running().entities[0].pid == before.entities[0].pid
    save(tmp_path, "orders", "new")
    assert told(dev_server, task_queue) == "old", "a saved file changes nothing by itself"
    planned = fleet.command("plan")
    assert "~ orders replace: code changed: orders.py" in planned.stdout
    # Also while the fork servers are not there to be asked.
    kill(fork_servers(fleet))
    reloaded = fleet.command("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    after = fleet.wait_running()
    assert not pids(after, "orders") & pids(before, "orders")
    assert [entity.id for entity in after.entities] == [entity.id for entity in before.entities]
    assert pids(after, "billing") == pids(before, "billing")
    assert told(dev_server, task_queue) == "new"
    again = fleet.command("reload")
    assert again.returncode == 0, again.stderr
    assert pids(fleet.wait_running(), "orders") == pids(after, "orders")
    servers = fork_servers(fleet)
    forced = fleet.command("reload", "--force", "orders")
    assert forced.returncode == 0, forced.stderr
    anew = fleet.wait_running()
    assert not pids(anew, "orders") & pids(after, "orders")
    assert pids(anew, "billing") == pids(before, "billing")
    wait_until(lambda: len(fork_servers(fleet)) == 2, what="the fork server of the old code is gone")
    assert fork_servers(fleet) != servers


def test_broken_code_is_refused_and_the_old_code_works_on(
    make_fleet: MakeFleet, tmp_path: Path, dev_server: DevServer, task_queue: str
) -> None:
    fleet = two_pools(make_fleet, tmp_path).start()
    before = fleet.wait_running()
    (tmp_path / "orders.py").write_text("import no_such_module_of_anybody\n")
    refused = fleet.command("reload")
    assert refused.returncode == 1
    assert "no_such_module_of_anybody" in refused.stderr
    after = fleet.wait_running()
    assert [entity.pid for entity in after.entities] == [entity.pid for entity in before.entities]
    assert told(dev_server, task_queue) == "old"
    save(tmp_path, "orders", "mended")
    mended = fleet.command("reload")
    assert mended.returncode == 0, mended.stderr
    fleet.wait_running()
    assert told(dev_server, task_queue) == "mended"


def test_code_that_is_as_it_was_is_not_imported_again_by_a_restart(
    make_fleet: MakeFleet, tmp_path: Path, dev_server: DevServer, task_queue: str
) -> None:
    fleet = two_pools(make_fleet, tmp_path).start()
    before = fleet.wait_running()
    servers = fork_servers(fleet)
    assert len(servers) == 2
    restarted = fleet.command("restart", "orders")
    assert restarted.returncode == 0, restarted.stderr
    after = fleet.wait(
        lambda s: s.fleet.state == "running" and not pids(s, "orders") & pids(before, "orders"),
        what="orders are replaced",
    )
    assert pids(after, "billing") == pids(before, "billing")
    wait_until(lambda: fork_servers(fleet) == servers, what="the same fork servers")
    save(tmp_path, "orders", "new")
    renewed = fleet.command("restart", "orders")
    assert renewed.returncode == 0, renewed.stderr
    fleet.wait(
        lambda s: s.fleet.state == "running" and not pids(s, "orders") & pids(after, "orders"),
        what="orders are replaced again",
    )
    assert told(dev_server, task_queue) == "new"


def test_under_watch_every_save_counts_and_broken_code_is_told(
    make_fleet: MakeFleet, tmp_path: Path, dev_server: DevServer, task_queue: str
) -> None:
    fleet = two_pools(make_fleet, tmp_path).start(options=("--watch",))
    before = fleet.wait_running()
    watching = "temporal_fleet.supervisor.cli.watcher"
    (watcher,) = (each for each in fleet.remember_all() if watching in command_line(each))
    wait_until(lambda: any("inotify" in link for link in _open(watcher)), what="the watcher watches")
    (tmp_path / "orders.py").write_text("this is not Python\n")
    wait_until(lambda: "nothing was changed" in fleet.log_text(), what="the failure is shown")
    assert "orders.py" in fleet.log_text()
    assert pids(fleet.status(), "orders") == pids(before, "orders")
    assert told(dev_server, task_queue) == "old"
    save(tmp_path, "orders", "new")
    rolled = fleet.wait(
        lambda s: s.fleet.state == "running" and not pids(s, "orders") & pids(before, "orders"),
        what="orders are replaced",
    )
    assert told(dev_server, task_queue) == "new"
    fleet.edit("entities = 2", "entities = 3")
    grown = fleet.wait(lambda s: s.pools[0].ready == 3, what="the file counts too")
    assert pids(grown, "orders") > pids(rolled, "orders")
    fleet.kill_supervisor()
    wait_until(lambda: not is_alive(watcher), what="the watcher ends with its supervisor")
    fleet.start().wait_running()
    assert fleet.stop() == 0


def _open(process: psutil.Process) -> list[str]:
    found = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(link.readlink()))
    return found


def test_of_64_pools_the_one_that_changed_is_rolled_and_63_keep_their_processes(
    make_fleet: MakeFleet, tmp_path: Path, task_queue: str
) -> None:
    save(tmp_path, "one", "old")
    save(tmp_path, "shared", "old")
    more = "".join(
        f'[pools.p{number}]\nprogram = "shared"\npath = "{tmp_path}"\ntask_queue = "{task_queue}-{number}"\n'
        for number in range(63)
    )
    fleet = make_fleet(program="one", more=more)
    fleet.edit(f'path = "{PROGRAMS}"', f'path = "{tmp_path}"')
    before = {entity.id: entity.pid for entity in fleet.start().wait_running().entities}
    assert len(before) == 64
    save(tmp_path, "one", "new")
    reloaded = fleet.command("reload")
    assert reloaded.returncode == 0, reloaded.stderr
    after = {entity.id: entity.pid for entity in fleet.wait_running().entities}
    assert after.keys() == before.keys()
    assert [name for name, pid in after.items() if pid != before[name]] == ["orders-1"]
