"""The cluster agent: the supervisor's hands in the Cluster. It keeps looking whether the Cluster is there,
says so when that changes, and does what it is told there, any number of things at once.

Run as a module, with the descriptor of its end of the pair as its argument. It holds no state that anybody
would miss, decides nothing, and lives exactly as long as the pair.
"""

import asyncio
import errno
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, NoReturn

import msgspec

from temporal_fleet.entity.closed import find_closed
from temporal_fleet.entity.cluster import Cluster
from temporal_fleet.entity.examiner import examine
from temporal_fleet.entity.logs import agent_log
from temporal_fleet.entity.lost_activities import Retried
from temporal_fleet.entity.output import Output
from temporal_fleet.entity.process import NOT_FOR_HELPERS
from temporal_fleet.entity.recovery import recover
from temporal_fleet.entity.runtime import client_runtime
from temporal_fleet.protocol.channel import Channel, ChannelClosed, inherited_channel
from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.protocol.helpers import (
    ClusterState,
    CredentialsTried,
    Examine,
    Examined,
    FindClosed,
    LogSettings,
    Recovered,
    RecoverEntity,
    RecoveryDelayed,
    ToAgent,
    WatchCluster,
)
from temporal_fleet.protocol.secrets import Secrets
from temporal_fleet.protocol.title import prepare_title, set_title

_logger = logging.getLogger(__name__)

_WHEN_FINE = 2.0
_WHEN_NOT = 0.5


class Agent:
    def __init__(self, channel: Channel[ToAgent]) -> None:
        self._channel = channel
        self._outbox: deque[msgspec.Struct] = deque()
        """What the supervisor, which stands still, has not taken."""
        self._told: ClusterState | None = None
        self._runtime = client_runtime()
        self._cluster: Cluster | None = None
        self._changed = asyncio.Event()
        self._errands: set[asyncio.Task[None]] = set()
        self._retried = Retried()
        self._recoveries: dict[tuple[str, int], asyncio.Task[Recovered]] = {}
        self._secrets = Secrets()
        self._output: Output | None = None

    async def work(self) -> None:
        """Watch the Cluster that the last WatchCluster names, and do what is asked for."""
        self._channel.socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._channel, self._attend)
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._cluster is not None:
                await self._watch(self._cluster)

    async def _watch(self, cluster: Cluster) -> None:
        """Until another one is to be watched."""
        self._told = None
        while not self._changed.is_set():
            state = await cluster.look()
            if cluster is not self._cluster:
                return
            self._tell(state)
            if (problem := await cluster.look_at_credentials()) is not None:
                self._send(CredentialsTried(problem=self._secrets.hide(problem)))
            pause = _WHEN_FINE if state.reachable and not state.refused else _WHEN_NOT
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    def _attend(self) -> None:
        try:
            message = self._channel.receive_frame()
        except BlockingIOError:
            return
        except ChannelClosed:
            # Here and now, whatever else is under way: nobody is left to work for.
            os._exit(0)
        if isinstance(message, LogSettings):
            self._log(message)
        elif isinstance(message, WatchCluster):
            self._cluster = Cluster(message, self._runtime, self._secrets.learn)
            self._changed.set()
            for recovery in self._recoveries.values():
                recovery.cancel()
        elif message is None or self._cluster is None:
            return
        elif isinstance(message, RecoverEntity):
            self._run(self._recover(message))
        elif isinstance(message, Examine):
            self._run(self._examine(message, self._cluster))
        else:
            self._run(self._find_closed(message, self._cluster))

    def _log(self, settings: LogSettings) -> None:
        if self._output is None:
            set_title(settings.fleet, "agent")
            self._output = agent_log(settings, self._secrets)
        self._output.use(settings.files)

    def _run(self, errand: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(errand)
        self._errands.add(task)
        task.add_done_callback(self._done)

    def _done(self, errand: asyncio.Task[None]) -> None:
        self._errands.discard(errand)
        error = errand.exception()
        if error is not None:
            _logger.error("what was asked of the agent failed; please report this", exc_info=error)

    async def _recover(self, order: RecoverEntity) -> None:
        """It begins anew when another Cluster is named: that which it had is looked at no more, and what
        was done does no harm a second time."""
        life = order.entity, order.incarnation
        if life in self._recoveries:
            return

        def delayed(reason: str) -> None:
            hidden = self._secrets.hide(reason)
            self._send(RecoveryDelayed(entity=order.entity, incarnation=order.incarnation, reason=hidden))

        try:
            while True:
                assert self._cluster is not None
                recovery = asyncio.create_task(recover(order, self._cluster, delayed, self._retried))
                self._recoveries[life] = recovery
                await asyncio.wait([recovery])
                if not recovery.cancelled():
                    break
        finally:
            self._recoveries.pop(life, None)
        recovered = recovery.result()
        self._send(msgspec.structs.replace(recovered, problem=self._secrets.hide(recovered.problem)))

    async def _find_closed(self, order: FindClosed, cluster: Cluster) -> None:
        self._send(await find_closed(order, cluster))

    async def _examine(self, order: Examine, cluster: Cluster) -> None:
        hide = self._secrets.hide
        found = await examine(order, cluster)
        queues = [msgspec.structs.replace(queue, problem=hide(queue.problem)) for queue in found.queues]
        shown = msgspec.structs.replace(
            found,
            problem=hide(found.problem),
            clock_problem=hide(found.clock_problem),
            workers_problem=hide(found.workers_problem),
            queues=queues,
        )
        self._send(Examined(request=order.request, examination=shown))

    def _tell(self, state: ClusterState) -> None:
        state = msgspec.structs.replace(state, reason=self._secrets.hide(state.reason))
        if state != self._told and not self._outbox:
            self._send(state)
            self._told = state

    def _send(self, message: msgspec.Struct) -> None:
        self._outbox.append(message)
        self._flush()

    def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._outbox:
                self._send_first()
                self._outbox.popleft()
        except BlockingIOError:
            loop.add_writer(self._channel, self._flush)
        except ChannelClosed:
            os._exit(0)
        else:
            loop.remove_writer(self._channel)

    def _send_first(self) -> None:
        """What is too large for the pair is told of and left out: it would stop all that comes after it."""
        message = self._outbox[0]
        try:
            self._channel.send(message)
        except ProtocolMisuse as misuse:
            problem = str(misuse)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            problem = str(error)
        else:
            return
        _logger.error("a %s was left out: %s", type(message).__name__, problem)


async def _work(channel: Channel[ToAgent]) -> None:
    await Agent(channel).work()


def main() -> NoReturn:
    prepare_title()
    for number in NOT_FOR_HELPERS:
        signal.signal(number, signal.SIG_IGN)
    channel: Channel[ToAgent] = inherited_channel(int(sys.argv[1]), ToAgent)
    try:
        asyncio.run(_work(channel))
    # The interpreter's own clean-up does not survive the SDK's threads.
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(1)


if __name__ == "__main__":
    main()
