"""The cluster agent as a real process; the supervisor's end of the pair is in the test."""

import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from temporal_fleet.protocol.channel import Channel
from temporal_fleet.protocol.helpers import ClusterState, FromAgent, WatchCluster
from temporal_fleet.protocol.spec import ClusterSpec

M = TypeVar("M", bound=msgspec.Struct)


class AgentProcess:
    def __init__(self, cluster: ClusterSpec, log: Path, env: dict[str, str]) -> None:
        self._log = log
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with log.open("wb") as output, theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "temporal_fleet.entity.agent", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
            )
        self._channel = Channel[FromAgent](ours, FromAgent)
        self._unread: list[FromAgent] = []
        self.watch(cluster)

    def watch(self, cluster: ClusterSpec, *, rebuild_task_tokens: bool = True) -> None:
        self.tell(WatchCluster(cluster=cluster, fleet="shop", rebuild_task_tokens=rebuild_task_tokens))

    def tell(self, message: msgspec.Struct) -> None:
        self._channel.send(message)

    def next(self, kind: type[M], within: float = 30.0) -> M:
        """The next message of this kind; the others are kept."""
        deadline = time.monotonic() + within
        while True:
            for message in self._unread:
                if isinstance(message, kind):
                    self._unread.remove(message)
                    return message
            readable, _, _ = select.select([self._channel], [], [], max(0.0, deadline - time.monotonic()))
            assert readable, f"no {kind.__name__} from the agent, only {self._unread}; its log:\n{self.log()}"
            self._unread.append(self._channel.receive())

    def next_state(self, within: float = 30.0) -> ClusterState:
        return self.next(ClusterState, within)

    def next_reachable(self) -> ClusterState:
        """The next state of a Cluster that answers: on a busy machine one look may be too short for that."""
        while not (state := self.next_state()).reachable:
            continue
        return state

    def log(self) -> str:
        return self._log.read_text()

    def close(self) -> None:
        self._channel.close()
