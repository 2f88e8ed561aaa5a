"""The cluster agent as a real process on a real pair, against real dev servers that come and go."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from temporal_fleet.protocol.helpers import ClusterState, Examine, Examined
from temporal_fleet.protocol.secrets import HIDDEN
from temporal_fleet.protocol.spec import ClusterSpec
from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.entity.agents import AgentProcess

Watch = Callable[..., AgentProcess]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    agents: list[AgentProcess] = []

    def watch(cluster: ClusterSpec, **env: str) -> AgentProcess:
        agents.append(AgentProcess(cluster, tmp_path / f"agent-{len(agents)}", env))
        return agents[-1]

    yield watch
    for agent in agents:
        agent.close()
        end_process(agent.process)


def test_it_reports_a_cluster_that_is_there(watch: Watch, dev_server: DevServer) -> None:
    state = watch(ClusterSpec(address=dev_server.address)).next_reachable()
    assert state == ClusterState(
        reachable=True, refused=False, reason="", address=dev_server.address, namespace="default"
    )


def test_it_exits_by_itself_when_the_pair_closes(watch: Watch, dev_server: DevServer) -> None:
    agent = watch(ClusterSpec(address=dev_server.address))
    agent.next_state()
    agent.close()
    assert agent.process.wait(10) == 0


def test_the_signals_of_terminal_and_service_manager_are_not_for_it(
    watch: Watch, dev_server: DevServer
) -> None:
    agent = watch(ClusterSpec(address=dev_server.address, namespace="absent"))
    agent.next_state()
    agent.process.send_signal(signal.SIGINT)
    agent.process.send_signal(signal.SIGTERM)
    agent.close()
    assert agent.process.wait(10) == 0


def test_it_reports_a_namespace_that_is_not_there_as_refused(watch: Watch, dev_server: DevServer) -> None:
    state = watch(ClusterSpec(address=dev_server.address, namespace="absent")).next_reachable()
    assert state.refused
    assert "absent" in state.reason
    assert state.namespace == "absent"


def test_no_secret_is_in_what_it_tells_of_a_look(watch: Watch, dev_server: DevServer, tmp_path: Path) -> None:
    """The key is what the reason names anyway."""
    key = tmp_path / "key"
    key.write_text(dev_server.address)
    agent = watch(ClusterSpec(address=dev_server.address, api_key_file=str(key)))
    assert HIDDEN in agent.next_state().reason
    agent.tell(Examine(request="1", task_queues=["q"], alive=[], resting=[]))
    problem = agent.next(Examined).examination.problem
    assert HIDDEN in problem
    assert dev_server.address not in problem


def test_it_reports_an_outage_and_the_recovery(watch: Watch, tmp_path: Path) -> None:
    port = free_port()
    agent = watch(ClusterSpec(address=f"127.0.0.1:{port}"))
    away = agent.next_state()
    assert not away.reachable
    assert not away.refused
    assert f"127.0.0.1:{port}" in away.reason
    server = start_dev_server(port, tmp_path / "server")
    try:
        assert agent.next_reachable().reason == ""
    finally:
        end_process(server)
    gone = agent.next_state()
    assert not gone.reachable
    assert not gone.refused


def test_it_turns_to_another_cluster_when_told(watch: Watch, dev_server: DevServer) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    agent = watch(ClusterSpec(address=nowhere))
    assert nowhere in agent.next_state().reason
    agent.watch(ClusterSpec(address=dev_server.address))
    assert agent.next_reachable().address == dev_server.address


def test_a_cluster_that_stands_still_is_unreachable(watch: Watch, tmp_path: Path) -> None:
    port = free_port()
    server = start_dev_server(port, tmp_path / "server")
    try:
        agent = watch(ClusterSpec(address=f"127.0.0.1:{port}"))
        agent.next_reachable()
        server.send_signal(signal.SIGSTOP)
        assert not agent.next_state().reachable
        server.send_signal(signal.SIGCONT)
        agent.next_reachable()
    finally:
        end_process(server)


def test_address_and_namespace_are_those_of_the_profile(
    watch: Watch, dev_server: DevServer, tmp_path: Path
) -> None:
    config = tmp_path / "temporal.toml"
    config.write_text(f'[profile.prod]\naddress = "{dev_server.address}"\nnamespace = "absent"\n')
    state = watch(ClusterSpec(profile="prod"), TEMPORAL_CONFIG_FILE=str(config)).next_reachable()
    assert (state.address, state.namespace, state.refused) == (dev_server.address, "absent", True)
    named = ClusterSpec(profile="prod", namespace="default")
    assert not watch(named, TEMPORAL_CONFIG_FILE=str(config)).next_reachable().refused


def test_a_file_that_is_put_right_is_read_again(watch: Watch, dev_server: DevServer, tmp_path: Path) -> None:
    config = tmp_path / "temporal.toml"
    agent = watch(ClusterSpec(profile="prod"), TEMPORAL_CONFIG_FILE=str(config))
    broken = agent.next_state()
    assert broken.refused
    assert 'profile = "prod"' in broken.reason
    config.write_text(f'[profile.prod]\naddress = "{dev_server.address}"\n')
    assert agent.next_reachable() == ClusterState(
        reachable=True, refused=False, reason="", address=dev_server.address, namespace="default"
    )
