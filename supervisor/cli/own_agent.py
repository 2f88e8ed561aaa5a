"""A cluster agent of the command's own, for a look at the Cluster where no fleet has one that could."""

import contextlib
import os
import select
import time
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from temporal_fleet.protocol.examination import QUEUES_LIMIT, Examination
from temporal_fleet.protocol.helpers import ClusterState, Examine, Examined, FromAgent, WatchCluster
from temporal_fleet.supervisor.config.settings import Config
from temporal_fleet.supervisor.config.specs import cluster_spec
from temporal_fleet.supervisor.shell.helper_process import AGENT, HelperGone, HelperProcess

_FIRST_WORD = 15.0
"""Seconds: it imports the SDK, and tries to connect."""
_LOOK = 30.0
"""Seconds: more than it takes for each of its requests to come too late."""

M = TypeVar("M", bound=msgspec.Struct)


def examine(
    config: Config, embedded: str | None, *, alive: Sequence[str], resting: Sequence[str]
) -> Examination:
    """`embedded`: where an embedded Cluster listens; `alive` and `resting` as of Examine. Never fails: what
    went wrong is told there."""
    queues = dict.fromkeys(pool.task_queue for pool in config.pools.values())
    order = Examine(
        request="doctor", task_queues=[*queues][:QUEUES_LIMIT], alive=[*alive], resting=[*resting]
    )
    spec = cluster_spec(config, embedded)
    nothing = Examination(address=spec.address or "", namespace=spec.namespace or "")
    try:
        with contextlib.closing(_Agent(WatchCluster(cluster=spec, fleet=config.fleet.name))) as agent:
            state = agent.hear(ClusterState, _FIRST_WORD)
            if state.reason:
                where = msgspec.structs.replace(nothing, address=state.address, namespace=state.namespace)
                return msgspec.structs.replace(where, problem=state.reason)
            agent.tell(order)
            return agent.hear(Examined, _LOOK).examination
    except (OSError, HelperGone) as error:
        return msgspec.structs.replace(nothing, problem=f"no agent could look at it: {error}")


class _Agent:
    """Raises OSError when it cannot be started."""

    def __init__(self, watch: WatchCluster) -> None:
        self._process = HelperProcess(AGENT, FromAgent, {})
        self._said: list[FromAgent] = []
        self.tell(watch)

    def tell(self, message: WatchCluster | Examine) -> None:
        """Raises HelperGone."""
        self._process.send(message)

    def hear(self, kind: type[M], within: float) -> M:
        """The next message of that kind. Raises TimeoutError, and HelperGone when it ends."""
        until = time.monotonic() + within
        while True:
            for message in self._said:
                if isinstance(message, kind):
                    self._said.remove(message)
                    return message
            if not self._process.listens:
                raise HelperGone("it ended; see what it said above")
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._process], [], [], left)[0]:
                raise TimeoutError(f"it said nothing for {within:.0f} s")
            self._said += self._process.receive()

    def close(self) -> None:
        self._process.stop()
        self._process.kill()
        os.waitpid(self._process.pid, 0)
        self._process.was_waited_for()
