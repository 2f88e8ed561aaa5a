"""Credentials are rotated under a running fleet that works: no process notices, and bad ones are told of."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.conftest import DevServer
from tests.entity.servers import Authority, Front, KeyPair, served
from tests.fleet import FleetUnderTest
from tests.system.conftest import MakeFleet
from tests.waiting import eventually, wait_until


class Ca:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._authority = Authority(folder)
        self._server = self._authority.issue("cluster.test")
        self.client = self._authority.issue("worker.test")

    def rule(self, front: Front) -> None:
        """From now on it alone is trusted, and to be trusted."""
        front.context = self._authority.server_context(self._server, asks_for_certificates=True)

    def front(self, cluster: str) -> Front:
        return Front(cluster, self._authority.server_context(self._server, asks_for_certificates=True))

    def write(self, folder: Path, pair: KeyPair | None = None) -> None:
        pair = pair or self.client
        (folder / "ca.pem").write_bytes(self._authority.root.certificate.read_bytes())
        (folder / "tls.pem").write_bytes(pair.certificate.read_bytes())
        (folder / "tls.key").write_bytes(pair.key.read_bytes())


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Ca, Ca]:
    return Ca(tmp_path / "old"), Ca(tmp_path / "new")


def tells(fleet: FleetUnderTest, kind: str, times: int) -> bool:
    return fleet.log_text().count(kind) == times


async def test_rotated_certificates_are_taken_up_under_load_by_the_same_processes(
    make_fleet: MakeFleet,
    dev_server: DevServer,
    task_queue: str,
    tmp_path: Path,
    authorities: tuple[Ca, Ca],
) -> None:
    old, new = authorities
    old.write(tmp_path)
    front = old.front(dev_server.address)
    client = await Client.connect(dev_server.address)
    with served(front.handle) as address:
        fleet = make_fleet(
            entities=2,
            cluster=f'[cluster]\naddress = "{address}"\n[cluster.tls]\nserver_name = "cluster.test"\n'
            'server_ca = "ca.pem"\nclient_cert = "tls.pem"\nclient_key = "tls.key"\n',
        ).start()
        before = await asyncio.to_thread(fleet.wait_running)
        # The agent may come later than the entities, and would have the new ones from the start.
        await asyncio.to_thread(fleet.wait, lambda s: s.cluster.reachable, what="the agent is connected")
        enough = asyncio.Event()

        async def load() -> int:
            done = 0
            while not enough.is_set():
                await client.execute_workflow(
                    "Errand", args=["ship", 0.01], id=f"{task_queue}-{done}", task_queue=task_queue
                )
                done += 1
            return done

        working = asyncio.create_task(load())
        orders = [
            await client.start_workflow("Order", 0.0, id=f"{task_queue}-order-{n}", task_queue=task_queue)
            for n in range(10)
        ]
        # Not what the Cluster trusts yet: each entity and the agent say so, and go on.
        new.write(tmp_path)
        await eventually(lambda: tells(fleet, "credentials.refused", 3), what="three refusals")
        assert "server_ca" in fleet.log_text()
        new.rule(front)
        new.write(tmp_path, pair=old.client)
        await eventually(lambda: tells(fleet, "credentials.refused", 6), what="three more refusals")
        new.write(tmp_path)
        await eventually(lambda: tells(fleet, "credentials.renewed", 3), what="three renewals")
        enough.set()
        assert await working > 0
        # What is on its way in a connection that is cut is lost, whatever files were used: nothing is now.
        front.hang_up()
        for order in orders:
            await order.signal("pay")
        assert await asyncio.gather(*(order.result() for order in orders)) == ["done"] * 10
        after = fleet.status()
        assert [e.pid for e in after.entities] == [e.pid for e in before.entities]
        assert [e.restarts for e in after.entities] == [0, 0]
        assert after.cluster.reachable


def test_who_starts_after_a_rotation_has_the_new_ones_and_no_secret_is_in_a_command_line(
    make_fleet: MakeFleet, dev_server: DevServer, tmp_path: Path, authorities: tuple[Ca, Ca]
) -> None:
    old, new = authorities
    (tmp_path / "api-key").write_text("what-the-key-hides")
    old.write(tmp_path)
    front = old.front(dev_server.address)
    with served(front.handle) as address:
        fleet = make_fleet(
            cluster=f'[cluster]\naddress = "{address}"\napi_key_file = "api-key"\n'
            '[cluster.tls]\nserver_name = "cluster.test"\n'
            'server_ca = "ca.pem"\nclient_cert = "tls.pem"\nclient_key = "tls.key"\n',
            pool='env = { SECRET = "what-the-pool-hides" }',
        ).start()
        before = fleet.wait_running()
        # The agent may come later than the entities, and would have the new ones from the start.
        fleet.wait(lambda s: s.cluster.reachable, what="the agent is connected")
        command_lines = [
            Path(f"/proc/{pid}/cmdline").read_bytes()
            for pid in (fleet.pid, *(process.pid for process in fleet.remember_all()))
        ]
        assert len(command_lines) >= 4, "supervisor, agent, fork server, entity"
        assert all(command_lines)
        everything = b"".join(command_lines)
        key = (tmp_path / "tls.key").read_bytes().splitlines()[1]
        assert not [s for s in (b"what-the-key-hides", b"what-the-pool-hides", key) if s in everything]
        new.rule(front)
        new.write(tmp_path)
        wait_until(lambda: tells(fleet, "credentials.renewed", 2), what="two renewals")
        pid = before.entities[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        fleet.wait(lambda s: s.fleet.state == "running" and s.entities[0].incarnation == 2, what="it is back")
