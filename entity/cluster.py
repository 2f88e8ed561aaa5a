"""The Cluster as the agent has it: one connection, kept and looked at, and requests that go through it.

Says what an answer means: done, declined, or nobody there. Who asks for what, and how long it keeps trying,
is not its matter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeVar

from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.service import RPCError, RPCStatusCode, WorkflowService

from temporal_fleet.entity import connection
from temporal_fleet.entity.credentials import Credentials
from temporal_fleet.protocol.helpers import ClusterState, WatchCluster
from temporal_fleet.protocol.spec import ClusterSpec

R = TypeVar("R")

PATIENCE = timedelta(seconds=5)
"""For one request. A server under the load of many recoveries answers late."""

_PROBE_PATIENCE = 2.0
"""Seconds for one look. Short: an attempt to reach a host that is away sees it return late."""
_FIRST_CONNECTION = 1.0
"""Seconds for which a request waits for a connection before the Cluster is said to be away."""
_IN_FLIGHT = 32
"""Requests at once, all recoveries together. More only queue up in the Cluster."""
_SEARCHING = 8
"""Of the searches that go through each execution of a dead entity, all recoveries together."""

_DECLINED = frozenset(
    {
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.ALREADY_EXISTS,
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.FAILED_PRECONDITION,
        RPCStatusCode.OUT_OF_RANGE,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


class Declined(Exception):
    """The Cluster answered, and will not do it: asking again changes nothing. After a death that is normal,
    since much of what it held was completed, cancelled or timed out meanwhile."""

    def __init__(self, error: RPCError) -> None:
        super().__init__(error.message)
        self.error = error


class Asked(Protocol):
    """A Cluster to which short requests can be put, whoever's connection it is."""

    @property
    def identity(self) -> str: ...
    @property
    def namespace(self) -> str: ...

    async def namespace_id(self) -> str:
        """Raises ClusterTrouble."""

    async def ask(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        """What the request brings. Raises Declined, and ClusterTrouble: it may work later."""


@dataclass(frozen=True)
class _Connected:
    client: Client
    namespace_id: str
    credentials: Credentials


class Cluster:
    """Reads files and profile again each time it connects: what was wrong in them may have been put right."""

    def __init__(
        self, watched: WatchCluster, runtime: Runtime, learn: Callable[[Iterable[str]], None]
    ) -> None:
        """`learn` is told the secrets of each connection before they are used."""
        self._learn = learn
        self.fleet = watched.fleet
        self.identity = connection.identity(watched.fleet, "agent")
        self.rebuilds_task_tokens = watched.rebuild_task_tokens
        self._spec: ClusterSpec = watched.cluster
        self._runtime = runtime
        self._where = connection.Endpoint(
            address=watched.cluster.address or connection.DEFAULT_ADDRESS,
            namespace=watched.cluster.namespace or connection.DEFAULT_NAMESPACE,
        )
        self._connected: _Connected | None = None
        self._connection = asyncio.Event()
        self._reason = "not connected yet"
        self._turns = asyncio.Semaphore(_IN_FLIGHT)
        self._searches = asyncio.Semaphore(_SEARCHING)

    @property
    def address(self) -> str:
        return self._where.address

    @property
    def namespace(self) -> str:
        return self._where.namespace

    async def namespace_id(self) -> str:
        """Raises ClusterTrouble."""
        return (await self._connection_now()).namespace_id

    async def look(self) -> ClusterState:
        if self._connected is None:
            try:
                self._where = connection.endpoint(self._spec)
            except connection.Refused as misconfigured:
                return self._state(reachable=False, refused=True, reason=misconfigured.reason)
        try:
            self._connected = await self._probe()
        except connection.ClusterTrouble as trouble:
            self._connected = None
            self._connection.clear()
            refused = isinstance(trouble, connection.Refused)
            return self._state(reachable=refused, refused=refused, reason=trouble.reason)
        self._connection.set()
        return self._state(reachable=True, refused=False, reason="")

    async def look_at_credentials(self) -> str | None:
        """What is new of them, as `Credentials.look` has it."""
        return None if self._connected is None else await self._connected.credentials.look()

    async def ask(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        """What a short request brings. Raises Declined, and ClusterTrouble: it may work later."""
        async with self._turns:
            return await self.ask_at_once(request)

    async def ask_in_search(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        """`ask` for one of thousands of requests, behind which what is urgent must not wait."""
        async with self._searches:
            return await self.ask_at_once(request)

    async def ask_at_once(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        """`ask` for a request that waits in the Cluster: it takes no turn of the others."""
        connected = await self._connection_now()
        try:
            return await request(connected.client.workflow_service)
        except RPCError as error:
            raise judged(error, self._where) from error

    async def _connection_now(self) -> _Connected:
        if self._connected is None:
            try:
                async with asyncio.timeout(_FIRST_CONNECTION):
                    await self._connection.wait()
            except TimeoutError:
                raise connection.Unreachable(self._reason) from None
        assert self._connected is not None
        return self._connected

    async def _probe(self) -> _Connected:
        """Raises ClusterTrouble."""
        connected = self._connected
        if connected is not None:
            await connection.namespace_id(connected.client, self._where, _PROBE_PATIENCE)
            return connected
        connect = partial(
            connection.connect,
            runtime=self._runtime,
            identity=self.identity,
            timeout=_PROBE_PATIENCE,
            learn=self._learn,
        )
        client = await connect(self._where)
        namespace_id = await connection.namespace_id(client, self._where, _PROBE_PATIENCE)
        return _Connected(client, namespace_id, Credentials(self._spec, self._where, client, connect))

    def _state(self, *, reachable: bool, refused: bool, reason: str) -> ClusterState:
        self._reason = reason
        return ClusterState(
            reachable=reachable,
            refused=refused,
            reason=reason,
            address=self._where.address,
            namespace=self._where.namespace,
        )


def judged(error: RPCError, where: connection.Endpoint) -> Exception:
    """Declined, ClusterTrouble, or the error itself where it says neither."""
    if error.status in _DECLINED and not _is_of_namespace(error):
        return Declined(error)
    return connection.judge(error, where) or error


def _is_of_namespace(error: RPCError) -> bool:
    # By its type: a message names the execution, whose id may hold any word.
    return any(detail.Is(NamespaceNotFoundFailure.DESCRIPTOR) for detail in error.grpc_status.details)
