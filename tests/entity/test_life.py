"""One life of one entity, forked by a real fork server, against the real dev server and a real ROUTER."""

import os
from collections.abc import Callable
from pathlib import Path

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.messages import Hello, Ready
from tests.entity.conftest import Cluster, Fork
from tests.entity.lives import Bus, Life

Started = Callable[[str], Path]


def test_an_entity_says_hello_becomes_ready_works_and_drains(
    fork: Fork, bus: Bus, cluster: Cluster, task_queue: str
) -> None:
    life = fork()
    assert bus.wait_for(Hello, life).pid == life.pid
    bus.ready(life)
    handle = cluster.start("Run", "greeting", task_queue, "greet", "you")
    assert cluster.run(handle.result()) == f"hello you from {life.pid}"
    bus.drain(life)
    assert "told" in life.expect(ExitCode.STOPPED)
