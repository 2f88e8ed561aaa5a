"""A plain worker, as one writes it without a supervisor: what the fleet's entities are compared with.

`python plain.py ADDRESS TASK_QUEUE PATH MODULE WORKFLOW,… ACTIVITY,…` prints `ready` once it is validated by
the Cluster and polls, and shuts down as the SDK does when it gets SIGTERM.
"""

import asyncio
import importlib
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from temporalio.client import Client
from temporalio.worker import Worker


async def main(address: str, task_queue: str, path: str, module: str, workflow: str, activity: str) -> None:
    sys.path.insert(0, path)
    program = importlib.import_module(module)
    client = await Client.connect(address)
    worker = Worker(
        client,
        task_queue=task_queue,
        workflows=[getattr(program, name) for name in workflow.split(",")],
        activities=[getattr(program, name) for name in activity.split(",") if name],
        activity_executor=ThreadPoolExecutor(100),
    )
    running = asyncio.create_task(worker.run())
    while not worker.is_running and not running.done():
        await asyncio.sleep(0.001)
    print("ready", flush=True)
    leave = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, leave.set)
    leaving = asyncio.create_task(leave.wait())
    await asyncio.wait([running, leaving], return_when=asyncio.FIRST_COMPLETED)
    await worker.shutdown()
    await running


asyncio.run(main(*sys.argv[1:]))
