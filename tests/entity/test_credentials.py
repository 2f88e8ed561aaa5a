"""Credentials that change while they are in use, against a real dev server behind real TLS."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
import pytest
from temporalio.client import Client

from temporal_fleet.entity import connection, credentials
from temporal_fleet.entity.credentials import Credentials
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.helpers import CredentialsTried
from temporal_fleet.protocol.messages import Credentials as CredentialsMessage
from temporal_fleet.protocol.spec import ClusterSpec, TlsSpec
from tests.conftest import DevServer, end_process
from tests.entity.agents import AgentProcess
from tests.entity.conftest import Cluster, Fork
from tests.entity.lives import Bus, Life, Nursery, entity_spec, program_spec
from tests.entity.runtimes import for_clients
from tests.entity.servers import Authority, Front, KeyPair, served

Started = Callable[[str], Path]


@dataclass(frozen=True)
class Issuer:
    """A CA, and what it has issued."""

    authority: Authority
    server: KeyPair
    client: KeyPair

    def front(self, cluster: str) -> Front:
        return Front(cluster, self.authority.server_context(self.server, asks_for_certificates=True))

    def takes_over(self, front: Front) -> None:
        """From now on the front has this certificate, and accepts clients of this CA alone."""
        front.context = self.authority.server_context(self.server, asks_for_certificates=True)


@pytest.fixture(scope="module")
def issuers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Issuer, Issuer]:
    def issuer() -> Issuer:
        authority = Authority(tmp_path_factory.mktemp("ca"))
        return Issuer(authority, authority.issue("cluster.test"), authority.issue("worker.test"))

    return issuer(), issuer()


class Store:
    """A folder with credentials, as an operator or a machine keeps it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._written = 0

    def cluster(self, address: str) -> ClusterSpec:
        return ClusterSpec(
            address=address,
            namespace="default",
            tls=TlsSpec(
                server_ca=str(self._folder / "ca.pem"),
                client_cert=str(self._folder / "tls.pem"),
                client_key=str(self._folder / "tls.key"),
                server_name="cluster.test",
            ),
        )

    def write(self, issuer: Issuer) -> None:
        """Over what is there, file by file."""
        self.write_certificate(issuer)
        self.write_key(issuer)

    def write_certificate(self, issuer: Issuer) -> None:
        (self._folder / "ca.pem").write_bytes(issuer.authority.root.certificate.read_bytes())
        (self._folder / "tls.pem").write_bytes(issuer.client.certificate.read_bytes())

    def write_key(self, issuer: Issuer) -> None:
        (self._folder / "tls.key").write_bytes(issuer.client.key.read_bytes())

    def spoil(self) -> None:
        (self._folder / "tls.pem").write_text("rubbish")


class MountedSecret(Store):
    """As a kubelet does: the files are links through a link that is renamed."""

    def write(self, issuer: Issuer) -> None:
        self._written += 1
        name = f"version-{self._written}"
        Store(self._folder / name).write(issuer)
        link = self._folder / "data.new"
        link.symlink_to(name)
        link.rename(self._folder / "data")
        for file in ("ca.pem", "tls.pem", "tls.key"):
            if not (self._folder / file).is_symlink():
                (self._folder / file).symlink_to(f"data/{file}")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "credentials")


def news(bus: Bus, life: Life, count: int = 1) -> str:
    return bus.wait_for(CredentialsMessage, life, count=count).problem


@pytest.mark.parametrize("kind", [Store, MountedSecret])
def test_a_running_entity_goes_on_with_rotated_files(
    fork: Fork,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    started: Started,
    tmp_path: Path,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
    kind: type[Store],
) -> None:
    old, new = issuers
    store = kind(tmp_path / "credentials")
    store.write(old)
    front = old.front(dev_server.address)
    with served(front.handle) as address:
        life = fork(store.cluster(address))
        bus.ready(life)
        order = cluster.start("Order", f"{task_queue}-order", task_queue)
        long = cluster.start("Run", f"{task_queue}-long", task_queue, "wait_for_file", str(tmp_path / "go"))
        go = started("go")
        bus.wait_for_heartbeat(life, cached_executions=2)
        load = [
            cluster.start("Run", f"{task_queue}-before-{n}", task_queue, "greet", "you") for n in range(10)
        ]
        new.takes_over(front)
        store.write(new)
        assert news(bus, life) == ""
        load += [
            cluster.start("Run", f"{task_queue}-after-{n}", task_queue, "greet", "you") for n in range(10)
        ]
        for handle in load:
            # What is on its way in a connection that is cut is lost, whatever files were used.
            cluster.run(handle.result())
        # The polls of before wait in connections of before; nobody can connect with the old files any more.
        front.hang_up()
        load += [
            cluster.start("Run", f"{task_queue}-later-{n}", task_queue, "greet", "you") for n in range(10)
        ]
        go.touch()
        cluster.run(order.signal("pay"))
        assert {cluster.run(handle.result()) for handle in load} == {f"hello you from {life.pid}"}
        assert cluster.run(long.result()) == f"async {life.pid}"
        assert cluster.run(order.result()) == "paid"
        # Nothing was evicted, and came again.
        assert bus.wait_for_heartbeat(life, cached_executions=0).resurrections == 0
        bus.drain(life)
        life.expect(ExitCode.STOPPED)


def test_files_that_do_not_work_are_told_of_once_and_the_connection_stays(
    fork: Fork,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    store: Store,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
) -> None:
    old, new = issuers
    store.write(old)
    with served(old.front(dev_server.address).handle) as address:
        life = fork(store.cluster(address))
        bus.ready(life)
        store.spoil()
        problem = news(bus, life)
        assert "client_cert" in problem
        assert "\n" not in problem
        store.write(new)
        other = news(bus, life, count=2)
        assert "server_ca" in other
        handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
        assert cluster.run(handle.result()) == f"hello you from {life.pid}"
        store.write(old)
        assert news(bus, life, count=3) == ""


def test_the_next_supervisor_hears_of_files_that_do_not_work(
    fork: Fork, bus: Bus, store: Store, dev_server: DevServer, issuers: tuple[Issuer, Issuer]
) -> None:
    issuer, _ = issuers
    store.write(issuer)
    with (
        served(issuer.front(dev_server.address).handle) as address,
        subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as supervisor,
    ):
        life = fork(store.cluster(address), supervisor_pid=supervisor.pid)
        bus.ready(life)
        store.spoil()
        problem = news(bus, life)
        supervisor.kill()
        assert news(bus, life, count=2) == problem


def test_a_new_api_key_is_tried_before_it_is_used(
    fork: Fork,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
) -> None:
    issuer, _ = issuers
    key = tmp_path / "api-key"
    key.write_text("first\n")
    front = Front(dev_server.address, issuer.authority.server_context(issuer.server), keys={"first"})
    with served(front.handle) as address:
        tls = TlsSpec(server_ca=str(issuer.authority.root.certificate), server_name="cluster.test")
        life = fork(ClusterSpec(address=address, namespace="default", tls=tls, api_key_file=str(key)))
        bus.ready(life)
        key.write_text("unknown\n")
        problem = news(bus, life)
        assert "api_key_file" in problem
        assert "unknown" not in problem
        front.keys = {"first", "second"}
        key.write_text("second\n")
        assert news(bus, life, count=2) == ""
        # The first one is withdrawn: polls that wait with it are broken off, and tried again.
        front.keys = {"second"}
        front.hang_up()
        handle = cluster.start("Run", f"{task_queue}-1", task_queue, "greet", "you")
        assert cluster.run(handle.result()) == f"hello you from {life.pid}"
        assert front.shown == {"first", "second"}
        assert "second" not in life.log()


def test_credentials_that_come_too_late_still_do(
    fork: Fork,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    store: Store,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
) -> None:
    """The former ones are withdrawn first: polls are turned away, and wait to be tried again."""
    old, new = issuers
    store.write(old)
    key = tmp_path / "api-key"
    key.write_text("first\n")
    front = old.front(dev_server.address)
    front.keys = {"first"}
    with served(front.handle) as address:
        life = fork(msgspec.structs.replace(store.cluster(address), api_key_file=str(key)))
        bus.ready(life)
        front.keys = {"second"}
        front.hang_up()
        key.write_text("second\n")
        assert news(bus, life) == ""
        handle = cluster.start("Run", f"{task_queue}-key", task_queue, "greet", "you")
        assert cluster.run(handle.result()) == f"hello you from {life.pid}"
        new.takes_over(front)
        front.hang_up()
        store.write(new)
        assert news(bus, life, count=2) == ""
        handle = cluster.start("Run", f"{task_queue}-tls", task_queue, "greet", "you")
        assert cluster.run(handle.result()) == f"hello you from {life.pid}"


def test_the_programs_own_client_goes_on_too(
    subreaper: None,
    run_dir: Path,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    tmp_path: Path,
    store: Store,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
) -> None:
    old, new = issuers
    store.write(old)
    front = old.front(dev_server.address)
    program = program_spec(task_queue, program="holds_client:program")
    nursery = Nursery(program, tmp_path / "log")
    try:
        with served(front.handle) as address:
            life = nursery.fork(entity_spec(run_dir, program, store.cluster(address)))
            bus.ready(life)
            new.takes_over(front)
            store.write(new)
            assert news(bus, life) == ""
            front.hang_up()
            counted = cluster.run(
                cluster.client.execute_activity(
                    "count_open",
                    id=task_queue,
                    task_queue=task_queue,
                    start_to_close_timeout=timedelta(seconds=20),
                )
            )
            assert counted >= 0
    finally:
        nursery.end()


def test_an_entity_that_drains_goes_on_with_rotated_files(
    fork: Fork,
    bus: Bus,
    cluster: Cluster,
    task_queue: str,
    started: Started,
    tmp_path: Path,
    store: Store,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
) -> None:
    old, new = issuers
    store.write(old)
    front = old.front(dev_server.address)
    with served(front.handle) as address:
        life = fork(store.cluster(address), drain=30.0)
        bus.ready(life)
        handle = cluster.start("Run", f"{task_queue}-1", task_queue, "wait_for_file", str(tmp_path / "go"))
        go = started("go")
        bus.drain(life)
        bus.wait_for_heartbeat(life, pollers=0, inflight_activities=1)
        new.takes_over(front)
        store.write(new)
        assert news(bus, life) == ""
        front.hang_up()
        go.touch()
        life.expect(ExitCode.STOPPED)
        bus.ready(second := fork(store.cluster(address)))
        assert cluster.run(handle.result()) == f"async {life.pid}"
        assert second.alive()


def test_the_agent_goes_on_with_rotated_files_and_tells_of_bad_ones(
    tmp_path: Path, store: Store, dev_server: DevServer, issuers: tuple[Issuer, Issuer]
) -> None:
    old, new = issuers
    store.write(old)
    front = old.front(dev_server.address)
    with served(front.handle) as address:
        agent = AgentProcess(store.cluster(address), tmp_path / "agent", {})
        try:
            assert agent.next_reachable().reason == ""
            store.spoil()
            assert "client_cert" in agent.next(CredentialsTried).problem
            new.takes_over(front)
            store.write(new)
            assert agent.next(CredentialsTried).problem == ""
        finally:
            agent.close()
            end_process(agent.process)


class Watcher:
    """Credentials in use by a client of the test's own; each look is the test's."""

    def __init__(self, cluster: ClusterSpec) -> None:
        self._runner = asyncio.Runner()
        self.attempts = 0
        self.reconnections = 0
        self._connect = partial(connection.connect, runtime=for_clients(), identity="test", timeout=10.0)
        where = connection.endpoint(cluster)
        self.client = self._runner.run(self._connect(where))
        self._credentials = Credentials(cluster, where, self.client, self._try, self._reconnected)

    async def _try(self, where: connection.Endpoint) -> Client:
        self.attempts += 1
        return await self._connect(where)

    def _reconnected(self) -> None:
        self.reconnections += 1

    def look(self) -> str | None:
        return self._runner.run(self._credentials.look())

    def ask(self) -> int:
        return self._runner.run(self.client.count_workflows()).count

    def close(self) -> None:
        self._runner.close()


@contextmanager
def watching(cluster: ClusterSpec) -> Iterator[Watcher]:
    watcher = Watcher(cluster)
    try:
        yield watcher
    finally:
        watcher.close()


def test_what_is_half_written_is_not_tried(
    store: Store, dev_server: DevServer, issuers: tuple[Issuer, Issuer]
) -> None:
    old, new = issuers
    store.write(old)
    front = old.front(dev_server.address)
    with served(front.handle) as address, watching(store.cluster(address)) as watcher:
        assert watcher.look() is None
        new.takes_over(front)
        store.write_certificate(new)
        assert watcher.look() is None
        store.write_key(new)
        assert watcher.look() is None
        assert watcher.attempts == 0
        assert watcher.look() == ""
        assert (watcher.attempts, watcher.reconnections) == (1, 1)
        front.hang_up()
        assert watcher.ask() >= 0
        assert watcher.look() is None


def test_what_was_refused_is_tried_again_after_a_while(
    store: Store,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, new = issuers
    store.write(old)
    front = old.front(dev_server.address)
    clock = time.monotonic
    with served(front.handle) as address, watching(store.cluster(address)) as watcher:
        store.write(new)
        assert watcher.look() is None
        assert "server_ca" in (watcher.look() or "")
        assert watcher.look() is None
        assert watcher.attempts == 1
        monkeypatch.setattr(time, "monotonic", lambda: clock() + credentials.TRY_AGAIN)
        assert watcher.look() is None
        assert watcher.attempts == 2
        new.takes_over(front)
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 2 * credentials.TRY_AGAIN + 1)
        assert watcher.look() == ""
        assert watcher.attempts == 3


def test_of_a_cluster_that_is_away_nothing_is_told(
    store: Store, dev_server: DevServer, issuers: tuple[Issuer, Issuer]
) -> None:
    old, new = issuers
    store.write(old)
    front = old.front(dev_server.address)
    with ExitStack() as later:
        with served(front.handle) as address:
            watcher = later.enter_context(watching(store.cluster(address)))
        front.hang_up()
        store.write(new)
        assert watcher.look() is None
        # It is looked for each time, to be there when it comes back.
        assert [watcher.look(), watcher.look()] == [None, None]
        assert (watcher.attempts, watcher.reconnections) == (2, 0)


def test_the_files_of_a_profile_are_looked_at(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dev_server: DevServer,
    issuers: tuple[Issuer, Issuer],
) -> None:
    issuer, _ = issuers
    profile = tmp_path / "temporal.toml"
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(profile))
    front = Front(dev_server.address, issuer.authority.server_context(issuer.server), keys={"first"})
    with served(front.handle) as address:

        def write(key: str, namespace: str = "default") -> None:
            profile.write_text(
                f'[profile.prod]\naddress = "{address}"\nnamespace = "{namespace}"\napi_key = "{key}"\n'
                f'[profile.prod.tls]\nserver_name = "cluster.test"\n'
                f'server_ca_cert_path = "{issuer.authority.root.certificate}"\n'
            )

        write("first")
        with watching(ClusterSpec(profile="prod")) as watcher:
            front.keys = {"second"}
            # Another namespace is another Cluster to us, and no renewal.
            write("second", namespace="elsewhere")
            assert watcher.look() is None
            assert watcher.look() == ""
            assert watcher.reconnections == 0
            assert watcher.client.namespace == "default"
            assert watcher.ask() >= 0


def test_without_files_nothing_is_looked_at(dev_server: DevServer) -> None:
    with watching(ClusterSpec(address=dev_server.address)) as watcher:
        assert watcher.look() is None
        assert watcher.attempts == 0
