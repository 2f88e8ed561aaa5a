"""A Worker Program for the tests of an entity's life: workflows that wait, activities of each kind."""

import asyncio
import atexit
import ctypes
import logging
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.common import RetryPolicy

ONCE = RetryPolicy(maximum_attempts=1)


@activity.defn
async def greet(name: str) -> str:
    logging.getLogger("shop").warning("greeting %s", name)
    return f"hello {name} from {os.getpid()}"


@activity.defn
async def wait_for_file(path: str) -> str:
    """Says that it runs, then runs until it is let go."""
    Path(f"{path}.running").touch()
    while not Path(path).exists():
        await asyncio.sleep(0.01)
    return f"async {os.getpid()}"


@activity.defn
def wait_for_file_in_thread(path: str) -> str:
    Path(f"{path}.running").touch()
    while not Path(path).exists():
        time.sleep(0.01)
    return f"sync {os.getpid()}"


@activity.defn
def ignore_cancellation(path: str) -> None:
    """Blocks in one call, which no cancellation interrupts."""
    Path(f"{path}.running").touch()
    threading.Event().wait()


@activity.defn
async def hang_the_loop(path: str) -> None:
    Path(f"{path}.running").touch()
    blocking_call_of_the_program()


def blocking_call_of_the_program() -> None:
    time.sleep(600)


@activity.defn
def hold_the_gil(path: str) -> None:
    Path(f"{path}.running").touch()
    # PyDLL does not release the GIL around the call.
    ctypes.PyDLL(None).sleep(600)


@activity.defn
async def write_to_the_streams() -> str:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    sys.stdout.buffer.write(b"bytes\n")
    sys.stdout.flush()
    sys.stderr.flush()
    return "written"


@activity.defn
async def print_and_be_killed() -> None:
    print("the last line")
    os.kill(os.getpid(), 9)


@activity.defn
async def connect(address: str) -> str:
    await Client.connect(address)
    return "connected"


pools: list[ProcessPoolExecutor] = []


@activity.defn
def use_a_process_pool() -> str:
    """Leaves the pool open, as programs do."""
    atexit.register(lambda: print(f"exit hook in {os.getpid()}"))
    atexit.register(lambda: 1 / 0)
    pools.append(ProcessPoolExecutor(1, multiprocessing.get_context("spawn")))
    return str(pools[0].submit(os.getpid).result())


@activity.defn
def give_a_forked_pool_up() -> str:
    """As one does whose job takes too long: the pool is ended with a job in its hands."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        try:
            return str(pool.apply_async(time.sleep, (600,)).get(timeout=0.2))
        except multiprocessing.TimeoutError:
            return "given up"


@workflow.defn
class Run:
    """Runs one activity by name."""

    @workflow.run
    async def run(self, name: str, argument: str | None = None) -> object:
        return await workflow.execute_activity(
            name,
            args=[] if argument is None else [argument],
            start_to_close_timeout=timedelta(seconds=60),
            retry_policy=ONCE,
        )


@workflow.defn
class RunLocally:
    """Runs one activity by name, in the entity itself."""

    @workflow.run
    async def run(self, name: str, argument: str) -> object:
        timeout = timedelta(seconds=10)
        return await workflow.execute_local_activity(name, argument, start_to_close_timeout=timeout)


@workflow.defn
class RunAside:
    """Runs one activity by name, on a queue beside its own."""

    @workflow.run
    async def run(self, name: str, argument: str) -> object:
        queue = f"{workflow.info().task_queue}-aside"
        timeout = timedelta(minutes=1)
        return await workflow.execute_activity(
            name, argument, task_queue=queue, start_to_close_timeout=timeout
        )


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
