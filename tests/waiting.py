"""Waiting for a condition: the only way a test waits. No sleep of a chosen length, no retry of an action."""

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")

_PAUSE = 0.01


def wait_until(condition: Callable[[], T | None], within: float = 20.0, what: str = "") -> T:
    """The first truthy value of `condition()`.

    Raises AssertionError naming `what` when there is none within so many seconds.
    """
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_message(condition, value, within, what))
        time.sleep(_PAUSE)


@overload
async def eventually(
    condition: Callable[[], Coroutine[Any, Any, T | None]], within: float = 20.0, what: str = ""
) -> T: ...
@overload
async def eventually(condition: Callable[[], T | None], within: float = 20.0, what: str = "") -> T: ...
async def eventually(condition: Callable[[], Any], within: float = 20.0, what: str = "") -> Any:
    """`wait_until` for a running event loop; the condition may be async."""
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(_message(condition, value, within, what))
        await asyncio.sleep(_PAUSE)


def _message(condition: object, value: object, within: float, what: str) -> str:
    return f"not within {within} s: {what or condition!r} (it was last {value!r})"
