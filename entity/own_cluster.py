"""The Cluster as an entity asks it: over its own Worker's connection, short requests beside the work.

What an answer means is in cluster; who asks for what is not decided here.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse
from temporalio.client import Client
from temporalio.service import RPCError, WorkflowService

from temporal_fleet.entity.cluster import judged
from temporal_fleet.entity.connection import Endpoint

R = TypeVar("R")

PATIENCE = timedelta(seconds=2)
"""For one request."""


class OwnCluster:
    """The entity's own connection, for short requests."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._info: NamespaceInfo | None = None
        self._where = Endpoint(client.service_client.config.target_host, client.namespace)

    @property
    def identity(self) -> str:
        return self._client.identity

    @property
    def namespace(self) -> str:
        return self._client.namespace

    async def namespace_id(self) -> str:
        return (await self._namespace_info()).id

    async def ends_polls(self) -> bool:
        """Whether it takes back the polls of a Worker that says that it shuts down, and hands it nothing more
        (server 1.32: frontend.enableCancelWorkerPollsOnShutdown). Raises Declined and ClusterTrouble."""
        return (await self._namespace_info()).capabilities.worker_poll_complete_on_shutdown

    async def ask(self, request: Callable[[WorkflowService], Awaitable[R]]) -> R:
        try:
            return await request(self._client.workflow_service)
        except RPCError as error:
            raise judged(error, self._where) from error

    async def _namespace_info(self) -> NamespaceInfo:
        if self._info is None:
            request = DescribeNamespaceRequest(namespace=self.namespace)
            described: DescribeNamespaceResponse = await self.ask(
                lambda service: service.describe_namespace(request, timeout=PATIENCE)
            )
            self._info = described.namespace_info
        return self._info
