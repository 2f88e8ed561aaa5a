"""The credentials of a connection that is in use: whether what they were read from has changed, whether what
stands there now is accepted, and how the connection goes on with it.

Whom to tell what came of it is decided by those who have the connection.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from temporalio.client import Client

from temporal_fleet.entity import connection
from temporal_fleet.entity.connection import Endpoint
from temporal_fleet.entity.references import summary
from temporal_fleet.protocol.spec import ClusterSpec

TRY_AGAIN = 30.0
"""Seconds between two attempts with the same credentials: who refuses them may come to accept them."""

_LOOK = 2.0
"""Seconds between two looks. What is written in less than that is never seen half written."""
_PATIENCE = 5.0
"""Seconds for the answer over a new connection."""


def _nothing_more() -> None:
    """Where nobody else has to know."""


class Credentials:
    """Looks at contents, not at files: a link that points elsewhere, a mount in the place of another and a
    profile that names other files are all the same to it. For one event loop."""

    def __init__(
        self,
        cluster: ClusterSpec,
        where: Endpoint,
        client: Client,
        connect: Callable[[Endpoint], Awaitable[Client]],
        reconnected: Callable[[], None] = _nothing_more,
    ) -> None:
        """`where` is what `client` was connected with. `connect` makes another connection, to be tried out.
        `reconnected` is told when `client` has another connection than before."""
        self._may_change = _stand_in_files(cluster)
        self._cluster = cluster
        self._in_use = where
        self._client = client
        self._connect = connect
        self._reconnected = reconnected
        self._seen: Endpoint | str = where
        self._tried: Endpoint | str = where
        self._try_again = 0.0
        self._refused = False

    async def watch(self, told: Callable[[str], None]) -> None:
        """Look every now and then, and tell what is new, as `look` does."""
        while self._may_change:
            await asyncio.sleep(_LOOK)
            try:
                news = await self.look()
            # What nobody thought of: the connection stays as it is, and later it may be otherwise.
            except Exception as error:
                told(f"the files of its credentials could not be tried: {summary(error)}; please report this")
                await asyncio.sleep(TRY_AGAIN)
                continue
            if news is not None:
                told(news)

    async def look(self) -> str | None:
        """What is new: why credentials that were found are not used, told once of each; or "" once those that
        stand in the files are those in use; None: nothing."""
        if not self._may_change:
            return None
        found = self._read()
        settled, self._seen = found == self._seen, found
        if found == self._in_use:
            put_back, self._refused = self._refused, False
            self._tried = found
            return "" if put_back else None
        again = found == self._tried
        # Somebody may be writing them just now: a certificate is there before its key.
        if not settled or (again and time.monotonic() < self._try_again):
            return None
        problem = found if isinstance(found, str) else await self._take_up(found)
        if problem is None:
            return None
        self._refused = bool(problem)
        self._tried = found
        self._try_again = time.monotonic() + TRY_AGAIN
        return None if problem and again else problem

    def _read(self) -> Endpoint | str:
        try:
            found = connection.endpoint(self._cluster)
        except connection.Refused as unreadable:
            return unreadable.reason
        # Another Cluster is no renewal: a profile may name one by now, and a reload goes there.
        return replace(found, address=self._in_use.address, namespace=self._in_use.namespace)

    async def _take_up(self, found: Endpoint) -> str | None:
        """Use these from now on. Why not, if they are not accepted; None: nobody is there to say."""
        try:
            fresh = await self._connect(found)
            await connection.namespace_id(fresh, found, _PATIENCE)
            self._go_on_with(found, fresh)
        except connection.Unreachable as trouble:
            return trouble.reason if await self._is_answered() else None
        except connection.ClusterTrouble as trouble:
            return trouble.reason
        # The program's plugins take part in it. Whatever they say, the connection of before still works.
        except Exception as error:
            return f"the connection cannot go on with them: {summary(error)}"
        return ""

    async def _is_answered(self) -> bool:
        """Over the connection of before."""
        try:
            await connection.namespace_id(self._client, self._in_use, _PATIENCE)
        except connection.ClusterTrouble as trouble:
            return isinstance(trouble, connection.Refused)
        return True

    def _go_on_with(self, found: Endpoint, fresh: Client) -> None:
        other_tls = (self._in_use.tls, self._in_use.uses_tls) != (found.tls, found.uses_tls)
        if other_tls:
            _hand_over(fresh, self._client)
        # In place: what waits in that connection, a poll too, shows the new key when it is tried again.
        self._client.rpc_metadata = found.rpc_metadata
        self._client.api_key = found.api_key
        if other_tls:
            self._reconnected()
        self._in_use = found


def _hand_over(fresh: Client, client: Client) -> None:
    """Give one client's connection to another, wherever that is held: by the program, its plugins and its
    running activities too. A Worker has to be given its client once more.

    No public interface does that: a Worker can be given another client, and everybody else is left with one
    whose certificate expires.
    """
    ours = client.service_client.worker_service_client
    theirs = fresh.service_client.worker_service_client
    ours._bridge_config = theirs._bridge_config
    ours._bridge_client = theirs._bridge_client
    client.service_client.config.tls = theirs.config.tls


def _stand_in_files(cluster: ClusterSpec) -> bool:
    tls = cluster.tls
    return (
        cluster.profile is not None
        or cluster.api_key_file is not None
        or (tls is not None and any((tls.server_ca, tls.client_cert, tls.client_key)))
    )
