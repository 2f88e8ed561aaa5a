"""A program that says what was imported between the fork and the end of a workflow."""

import os
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.plugin import SimplePlugin

at_fork: set[str] = set()
os.register_at_fork(after_in_child=lambda: at_fork.update(sys.modules))


@activity.defn
def imported_since() -> list[str]:
    return sorted(set(sys.modules) - at_fork)


@workflow.defn
class ImportedSince:
    @workflow.run
    async def run(self) -> list[str]:
        timeout = timedelta(seconds=60)
        await workflow.execute_activity(imported_since, start_to_close_timeout=timeout)
        return await workflow.execute_activity(imported_since, start_to_close_timeout=timeout)


plugin = SimplePlugin("imports", workflows=[ImportedSince], activities=[imported_since])
