"""Evicting executions: which of them an order means, getting the SDK to do it, giving their memory back.

Why and when is the supervisor's to say. Answers each order, and does one after the other. Of executions that
the SDK evicts by itself, only the memory is seen to.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from temporal_fleet.entity.executions import Execution, Executions
from temporal_fleet.entity.memory import Memory, give_back, own_memory, trim
from temporal_fleet.protocol.messages import Evict, Evicted

_PATIENCE = 3.0
"""Seconds without any of them leaving: the rest is passed over."""
_PAUSE = 0.005
_AT_ONCE = 64
"""Evictions asked for and not done yet: a Workflow Task that comes meanwhile waits for them."""
_SETTLED = 0.05
"""Seconds after a batch, in which the others go on."""
_TURNOVER = 100
"""Executions that the SDK evicts by itself, the cache being full, before their memory is seen to; a cache
that is larger has to turn over once."""
_TIDY_PAUSE = 2.0
"""Seconds, in which a cache that is too small for what comes piles its rubbish up."""
_TIDY_SHARE = 0.02
"""Of the time, at most, goes into it."""


@dataclass(frozen=True)
class Choice:
    executions: list[Execution]
    passed_over: int
    """Asked for by name, and running."""


def choose(executions: Executions, order: Evict, now: float) -> Choice:
    """What an order means; `now` in seconds since the epoch."""
    recent_first = sorted(executions.everything(), key=lambda one: one.last_activity, reverse=True)
    candidates = recent_first[order.keep :]
    candidates.reverse()
    named = set(order.run_ids)
    blocked = [one for one in candidates if executions.is_blocked(one)]
    chosen = [one for one in blocked if one.run_id in named]
    running = sum(one.run_id in named for one in candidates) - len(chosen)
    if not order.only_these:
        idle = [one for one in blocked if one.run_id not in named and _is_idle(one, order.idle, now)]
        chosen += sorted(idle, key=lambda one: not one.closed)
    return Choice(chosen[: order.at_most], running)


def _is_idle(execution: Execution, seconds: float, now: float) -> bool:
    # A clock that was set back says of all that they were active in time to come.
    return seconds <= 0 or now - execution.last_activity >= seconds


class Evictor:
    """For the event loop alone. `request` asks the SDK to evict a run, which it does at the next moment at
    which no Workflow Task of it is in hand."""

    def __init__(self, executions: Executions, request: Callable[[str], None]) -> None:
        self._executions = executions
        self._request = request
        self._one_at_a_time = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, "evictor")
        self._tidying: asyncio.Future[float] | None = None
        self._evictions_seen_to = 0
        self._tidy_again_at = 0.0

    async def evict(self, order: Evict) -> Evicted:
        async with self._one_at_a_time:
            before = await self._apart(own_memory)
            evicted, passed_over = await self._evict(order)
            after = await self._apart(_given_back) if evicted else before
            self._evictions_seen_to = self._executions.evictions
        return Evicted(
            entity=order.entity,
            incarnation=order.incarnation,
            request=order.request,
            evicted=evicted,
            passed_over=passed_over,
            cached=self._executions.cached,
            pss_before=before.pss,
            pss_after=after.pss,
            rss_before=before.rss,
            rss_after=after.rss,
        )

    def tidy(self) -> None:
        """Give back what the SDK's own evictions left behind, if there were enough of them. To be called now
        and then; returns at once. Raises what went wrong the last time."""
        if self._one_at_a_time.locked():
            return
        now = time.monotonic()
        if self._tidying is not None:
            if not self._tidying.done():
                return
            last, self._tidying = self._tidying, None
            self._tidy_again_at = now + max(_TIDY_PAUSE, last.result() / _TIDY_SHARE)
        fresh = self._executions.evictions - self._evictions_seen_to
        if fresh < max(_TURNOVER, self._executions.cached) or now < self._tidy_again_at:
            return
        self._evictions_seen_to = self._executions.evictions
        self._tidying = asyncio.get_running_loop().run_in_executor(self._thread, _tidied)

    async def _evict(self, order: Evict) -> tuple[int, int]:
        """How many are gone, once nothing more is about to go, and how many of those meant are not.

        Keeps none of them: each lies among what its execution used, and would keep a megabyte around it from
        being given back.
        """
        choice = choose(self._executions, order, time.time())
        await self._see_off(choice.executions)
        gone = sum(not self._executions.holds(one) for one in choice.executions)
        return gone, len(choice.executions) - gone + choice.passed_over

    async def _see_off(self, chosen: list[Execution]) -> None:
        to_ask = deque(chosen)
        asked: list[Execution] = []
        moved_at = time.monotonic()
        while to_ask or asked:
            while to_ask and len(asked) < _AT_ONCE:
                execution = to_ask.popleft()
                if self._executions.is_blocked(execution):
                    self._request(execution.run_id)
                    asked.append(execution)
            await asyncio.sleep(_PAUSE)
            # One that began to run goes too, when it comes to rest: nobody waits for that.
            left = [one for one in asked if self._executions.is_blocked(one)]
            if len(left) < len(asked):
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > _PATIENCE:
                break
            asked = left
        while self._executions.leaving and time.monotonic() - moved_at < _PATIENCE:
            await asyncio.sleep(_PAUSE)

    async def _apart(self, work: Callable[[], Memory]) -> Memory:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _tidied() -> float:
    """Seconds that it took."""
    began = time.monotonic()
    give_back()
    return time.monotonic() - began


def _given_back() -> Memory:
    give_back()
    # Everything stood still meanwhile. What others free as they go on may keep ten mebibytes of it.
    time.sleep(_SETTLED)
    trim()
    return own_memory()
