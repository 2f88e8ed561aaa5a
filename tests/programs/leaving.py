"""What activities may do when their entity leaves: each is another way of not being done by then."""

import asyncio

from shop import *  # noqa: F403
from temporalio import activity


@activity.defn
async def attentive(_seconds: float) -> str:
    """Works until its Worker shuts down, and is done then."""
    await activity.wait_for_worker_shutdown()
    return f"attempt {activity.info().attempt}, cancelled: {activity.is_cancelled()}"


@activity.defn
async def careful(_seconds: float) -> str:
    """Is not done before it is cancelled; says how far it came, and goes on from there."""
    info = activity.info()
    if info.heartbeat_details:
        return f"attempt {info.attempt} from {info.heartbeat_details[0]}"
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        activity.heartbeat("half way")
        raise
    raise AssertionError("the wait has no end")


@activity.defn
async def stubborn(_seconds: float) -> str:
    """The first attempt heeds nothing."""
    while activity.info().attempt == 1:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue
    return f"attempt {activity.info().attempt}"


@activity.defn
async def enduring(_seconds: float) -> str:
    """Goes on until it is cancelled."""
    await asyncio.Event().wait()
    raise AssertionError("the wait has no end")
