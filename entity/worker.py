"""The one Worker of an entity: built from its program's arguments and what the fleet adds, run, and asked to
evict.

Knows the SDK's Worker; nothing of the supervisor. How it ends is in departure.
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.worker import Worker

from temporal_fleet.entity.departure import Departure
from temporal_fleet.entity.grace import NEVER_ENDING
from temporal_fleet.entity.passing import may_pass
from temporal_fleet.entity.pollers import Pollers
from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.references import ProgramError
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.protocol.spec import EntitySpec

_STICKY_WAIT = timedelta(seconds=2)
"""How long a task waits for the one entity that has its execution in the cache. The SDK's ten seconds are
what it costs where no recovery can help, as to a query that a dead entity had in hand. Too short, and an
entity that is busy loses executions to others, which replay them. With 1,500 signals at once to 300
executions of one entity, one in 100 had waited that long; for one second, 95 had."""
_ABANDONED = 1.0
"""Seconds for what stands around such a Worker to clean up."""

_logger = logging.getLogger(__name__)


class WorkerStopped(Exception):
    """The Worker came to its end, and nobody had asked it to."""


class EntityWorker:
    """Raises ProgramError when the SDK does not accept the arguments, and what the program's own code raises
    meanwhile of a host, or a service, that may be better the next time."""

    def __init__(
        self,
        spec: EntitySpec,
        arguments: Mapping[str, Any],
        client: Client,
        vitals: Vitals,
        recorder: Recorder,
    ) -> None:
        try:
            self._worker = Worker(
                client,
                task_queue=spec.program.task_queue,
                identity=client.identity,
                graceful_shutdown_timeout=NEVER_ENDING,
                **{"sticky_queue_schedule_to_start_timeout": _STICKY_WAIT, **arguments},
            )
        except ProgramError:
            raise
        except Exception as error:
            if may_pass(error):
                raise
            # What it says against its arguments it will say again.
            raise ProgramError(
                f'program = "{spec.program.program}": the SDK\'s Worker refuses its arguments: '
                f"{_cause(error)}; correct the program, or the pool's `worker`"
            ) from error
        self.identity = client.identity
        """What the Cluster knows it by."""
        self.recorder = recorder
        recorder.install(self._worker)
        self._pollers = Pollers(self._worker, vitals)
        self._departure = Departure(self._worker, self._pollers, client, vitals, recorder, spec)

    @property
    def has_sticky_queue(self) -> bool:
        """Whether it caches executions, whose tasks come to it alone."""
        return self._pollers.sticky

    def name_sticky_queue(self, name: str) -> None:
        """What that is called, which it does not know by itself."""
        self._departure.sticky_queue = name

    @property
    def is_ending(self) -> bool:
        """Whether its core was told to end, and polls no more."""
        return self._departure.core_ends

    @property
    def polled(self) -> Mapping[str, float]:
        """The kinds of tasks that it is to poll for now, by the names of their pollers, each with the seconds
        for which its own rate limit may keep it from that."""
        return {} if self._departure.has_begun else self._pollers.polled

    async def run(self) -> None:
        """Run until drained. Raises WorkerStopped, and what the SDK raises."""
        running = asyncio.create_task(self._worker.run())
        try:
            await asyncio.wait([running, self._departure.deserted], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            else:
                await self._abandon(running)
        except BaseException:
            self._departure.give_up()
            raise
        if not self._departure.has_begun:
            raise WorkerStopped("the SDK's Worker ended by itself, without an error")
        await self._departure.finish()

    async def polling(self) -> None:
        """Return once the Cluster has validated the Worker and each kind of its pollers is out."""
        await self._pollers.out()

    def reconnected(self) -> None:
        """Its client has another connection: go on over that, without a poll or a task lost."""
        # One that has shut down calls nobody any more, and takes no client.
        if self._worker._bridge_worker._ref is not None:
            self._worker.client = self._worker.client

    def request_eviction(self, run_id: str) -> None:
        """Have the SDK evict a run, at the next moment at which no Workflow Task of it is in hand. A run that
        it does not know is nothing to it."""
        self._worker._bridge_worker.request_workflow_eviction(run_id)

    def quiet(self) -> None:
        """Stop polling, and let the cache go; `run` returns when what runs has finished."""
        self._departure.quiet()

    def drain(self) -> None:
        """Stop polling; `run` returns when what runs has finished, or was cancelled after `drain`."""
        self._departure.drain()

    async def _abandon(self, running: asyncio.Task[None]) -> None:
        """Leave a Worker that does not end; its plugins may clean up."""
        _logger.warning(
            "it leaves, though its Worker waits for polls that the Cluster, away or slow, does not end"
        )
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=_ABANDONED)
        for ended in done:
            if not ended.cancelled() and ended.exception() is not None:
                _logger.warning("its Worker failed at its end", exc_info=ended.exception())


def _cause(error: Exception) -> str:
    # The core appends a backtrace of its own.
    text, _, _ = str(error).partition("\n\nStack backtrace:")
    because = f" ({error.__cause__})" if error.__cause__ is not None else ""
    return f"{type(error).__name__}: {' '.join(text.split())}{because}"
