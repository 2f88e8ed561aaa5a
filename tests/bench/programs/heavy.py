"""A Worker Program with the imports that real ones have: those that $BENCH_IMPORTS names."""

import importlib
import os
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    for name in os.environ["BENCH_IMPORTS"].split():
        importlib.import_module(name)


@activity.defn
def work(number: int) -> int:
    return number + 1


@workflow.defn
class Work:
    @workflow.run
    async def run(self, number: int) -> int:
        return await workflow.execute_activity(work, number, start_to_close_timeout=timedelta(seconds=10))
