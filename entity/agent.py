"""The cluster agent: the supervisor's hands in the Cluster. It keeps looking whether the Cluster is there,
and says so when that changes.

Run as a module, with the descriptor of its end of the pair as its argument. It holds no state that anybody
would miss and decides nothing; it lives exactly as long as the pair.
"""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from datetime import timedelta
from typing import NoReturn

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError

from temporal_fleet.entity import connection
from temporal_fleet.entity.process import NOT_FOR_HELPERS
from temporal_fleet.entity.runtime import client_runtime
from temporal_fleet.protocol.channel import Channel, ChannelClosed, inherited_channel
from temporal_fleet.protocol.helpers import ClusterState, ToAgent, WatchCluster
from temporal_fleet.protocol.spec import ClusterSpec

_WHEN_FINE = 2.0
_WHEN_NOT = 0.5
_PATIENCE = 2.0
"""Seconds for one probe. Short: an attempt to reach a host that is away sees it return late."""


class ClusterProbe:
    """Looks at one Cluster. Keeps its connection while that works, and reads files and profile again each
    time it connects: what was wrong in them may have been put right."""

    def __init__(self, watched: WatchCluster, runtime: Runtime) -> None:
        self._cluster: ClusterSpec = watched.cluster
        self._identity = connection.identity(watched.fleet, "agent")
        self._runtime = runtime
        self._where = connection.Endpoint(
            address=watched.cluster.address or connection.DEFAULT_ADDRESS,
            namespace=watched.cluster.namespace or connection.DEFAULT_NAMESPACE,
        )
        self._client: Client | None = None

    async def look(self) -> ClusterState:
        if self._client is None:
            try:
                self._where = connection.endpoint(self._cluster)
            except connection.Refused as misconfigured:
                return self._state(reachable=False, refused=True, reason=misconfigured.reason)
        try:
            await self._ask()
        except connection.Unreachable as trouble:
            self._client = None
            return self._state(reachable=False, refused=False, reason=trouble.reason)
        except connection.Refused as trouble:
            self._client = None
            return self._state(reachable=True, refused=True, reason=trouble.reason)
        return self._state(reachable=True, refused=False, reason="")

    async def _ask(self) -> None:
        """What a Worker asks at its start. Raises Unreachable and Refused."""
        if self._client is None:
            self._client = await connection.connect(
                self._where, self._runtime, identity=self._identity, timeout=_PATIENCE
            )
        try:
            await self._client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=self._where.namespace),
                timeout=timedelta(seconds=_PATIENCE),
            )
        except RPCError as error:
            trouble = connection.judge(error, self._where)
            raise trouble or error from error

    def _state(self, *, reachable: bool, refused: bool, reason: str) -> ClusterState:
        return ClusterState(
            reachable=reachable,
            refused=refused,
            reason=reason,
            address=self._where.address,
            namespace=self._where.namespace,
        )


class Agent:
    def __init__(self, channel: Channel[ToAgent]) -> None:
        self._channel = channel
        self._told: ClusterState | None = None
        self._watched: WatchCluster | None = None
        self._changed = asyncio.Event()

    async def watch(self) -> None:
        """Watch the Cluster that the last message names. Raises ChannelClosed at the end."""
        self._watched = self._channel.receive()
        self._channel.socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._attend)
        runtime = client_runtime()
        while True:
            watched = self._watched
            self._changed.clear()
            await self._watch_one(watched, ClusterProbe(watched, runtime))

    async def _watch_one(self, watched: WatchCluster, probe: ClusterProbe) -> None:
        """Until another one is to be watched."""
        self._told = None
        while not self._changed.is_set():
            state = await probe.look()
            if watched is not self._watched:
                return
            self._tell(state)
            pause = _WHEN_FINE if state.reachable and not state.refused else _WHEN_NOT
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    def _attend(self) -> None:
        try:
            self._watched = self._channel.receive()
            self._changed.set()
        except BlockingIOError:
            return
        except ChannelClosed:
            # Here and now, whatever else is under way: nobody is left to work for.
            os._exit(0)

    def _tell(self, state: ClusterState) -> None:
        if state == self._told:
            return
        try:
            self._channel.send(state)
        except BlockingIOError:
            # The supervisor stands still: told after the next look.
            return
        self._told = state


def main() -> NoReturn:
    for number in NOT_FOR_HELPERS:
        signal.signal(number, signal.SIG_IGN)
    channel: Channel[ToAgent] = inherited_channel(int(sys.argv[1]), ToAgent)
    try:
        asyncio.run(Agent(channel).watch())
    except ChannelClosed:
        os._exit(0)
    # The interpreter's own clean-up does not survive the SDK's threads.
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


if __name__ == "__main__":
    main()
