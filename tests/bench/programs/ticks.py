"""A workflow that does next to nothing when it is signalled, so that what surrounds it can be measured."""

from temporalio import workflow


@workflow.defn
class Ticks:
    def __init__(self) -> None:
        self._ticks = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: self._ticks < 0)

    @workflow.signal
    def tick(self) -> None:
        self._ticks += 1
