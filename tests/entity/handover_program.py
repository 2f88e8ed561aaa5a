"""A Worker Program for the tests of handovers: updates, with and without an activity."""

from datetime import timedelta

from temporalio import activity, workflow


@activity.defn
async def add_one(number: int) -> int:
    return number + 1


@workflow.defn
class Counter:
    @workflow.init
    def __init__(self) -> None:
        self._count = 0
        self._closed = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self._closed and workflow.all_handlers_finished())
        return self._count

    @workflow.update
    async def count(self) -> None:
        self._count += 1

    @workflow.update
    async def count_elsewhere(self) -> None:
        await workflow.execute_activity(add_one, 0, start_to_close_timeout=timedelta(seconds=10))
        self._count += 1

    @workflow.signal
    def close(self) -> None:
        self._closed = True
