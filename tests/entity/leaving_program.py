"""A Worker Program for the tests of leaving: what its activities and Nexus operations see of it."""

import asyncio
import time
from concurrent.futures import BrokenExecutor
from datetime import timedelta
from pathlib import Path

import nexusrpc
import nexusrpc.handler
from temporalio import activity, workflow
from temporalio.common import RetryPolicy


@activity.defn
async def save_progress(path: str) -> str:
    """Works for ever, and says how far it came when it has to stop. Its second attempt tells."""
    if activity.info().heartbeat_details:
        return f"attempt {activity.info().attempt} after {activity.info().heartbeat_details[0]}"
    Path(f"{path}.running").touch()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        details = activity.cancellation_details()
        activity.heartbeat(f"shutdown {details is not None and details.worker_shutdown}")
        raise
    raise AssertionError("the wait has no end")


@activity.defn
def save_progress_in_thread(path: str) -> str:
    if activity.info().heartbeat_details:
        return f"attempt {activity.info().attempt} after {activity.info().heartbeat_details[0]}"
    Path(f"{path}.running").touch()
    try:
        while True:
            time.sleep(0.01)
    except BaseException:
        details = activity.cancellation_details()
        activity.heartbeat(f"shutdown {details is not None and details.worker_shutdown}")
        raise


@activity.defn
async def wait_for_shutdown(path: str) -> str:
    """Ends by itself when it hears that its Worker shuts down."""
    Path(f"{path}.running").touch()
    await activity.wait_for_worker_shutdown()
    return f"heard of it: {activity.is_worker_shutdown()}, cancelled: {activity.is_cancelled()}"


@activity.defn
def wait_for_shutdown_in_thread(path: str) -> str:
    Path(f"{path}.running").touch()
    activity.wait_for_worker_shutdown_sync(timedelta(seconds=60))
    return f"heard of it: {activity.is_worker_shutdown()}, cancelled: {activity.is_cancelled()}"


@activity.defn
async def heartbeat_until_cancelled(path: str) -> None:
    """For a cancellation that its workflow asks for."""
    Path(f"{path}.running").touch()
    while True:
        activity.heartbeat()
        await asyncio.sleep(0.05)


@activity.defn
async def fail_the_worker(path: str) -> str:
    """As an executor does whose processes were killed."""
    if activity.info().attempt == 1:
        raise BrokenExecutor(f"a process of it was killed, at {path}")
    return "not again"


@workflow.defn
class Persist:
    """Runs one activity by name, and again if it failed."""

    @workflow.run
    async def run(self, name: str, path: str) -> str:
        told: str = await workflow.execute_activity(
            name,
            path,
            result_type=str,
            start_to_close_timeout=timedelta(seconds=60),
            heartbeat_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2),
            cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        )
        return told


@workflow.defn
class Order:
    """Waits for a signal."""

    def __init__(self) -> None:
        self._paid = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._paid)
        return "paid"

    @workflow.signal
    def pay(self) -> None:
        self._paid = True


@nexusrpc.handler.service_handler(name="Errands")
class Errands:
    @nexusrpc.handler.sync_operation
    async def wait(self, _context: nexusrpc.handler.StartOperationContext, path: str) -> str:
        """For ever; says why it was stopped."""
        Path(f"{path}.running").touch()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            reason = _context.task_cancellation.cancellation_reason()
            Path(f"{path}.stopped").write_text(str(reason))
            raise
        raise AssertionError("the wait has no end")


@workflow.defn
class Errand:
    """Waits for a Nexus operation."""

    @workflow.run
    async def run(self, endpoint: str, path: str) -> None:
        client = workflow.create_nexus_client(service="Errands", endpoint=endpoint)
        await client.execute_operation("wait", path, output_type=str)
