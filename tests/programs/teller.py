"""A Worker Program that says all that it knows, by every way there is, secrets too."""

import asyncio
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

from temporalio import activity, workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    import ctypes

log = logging.getLogger(__name__)


def _secrets() -> list[str]:
    return [os.environ["SECRET"], *(Path(path).read_text() for path in os.environ["KEYS"].split(":"))]


def _tell(whose: str) -> None:
    for secret in _secrets():
        log.warning("%s logs %s", whose, secret)
        print(f"{whose} prints {secret}", file=sys.stderr)


def after_fork() -> None:
    if Path(os.environ["FAILS"]).exists():
        raise RuntimeError(f"no database for {_secrets()}")


@activity.defn
async def tell(fails: bool) -> None:
    await asyncio.sleep(0)
    _tell("an activity")
    if fails:
        raise RuntimeError(f"an activity fails with {_secrets()}")


@activity.defn
def tell_in_a_thread(_: bool) -> None:
    _tell("a thread")
    print("half a line", end="", flush=True)
    print(", and the other half")
    ctypes.CDLL(None).write(2, b"a C library writes\n", 19)


@workflow.defn
class Tell:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.info("a workflow logs")
        print("a workflow prints")
        for doing, fails in ((tell, False), (tell_in_a_thread, False), (tell, True)):
            try:
                await workflow.execute_activity(
                    doing,
                    fails,
                    start_to_close_timeout=timedelta(minutes=1),
                    retry_policy=RetryPolicy(maximum_attempts=1),
                )
            except Exception:
                workflow.logger.exception("an activity failed")


def worker() -> dict[str, object]:
    return {
        "workflows": [Tell],
        "activities": [tell, tell_in_a_thread],
        "activity_executor": ThreadPoolExecutor(2),
    }
