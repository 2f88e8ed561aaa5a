"""An execution that stays open and keeps what it is told: whatever it forgets, it lost in a resurrection."""

from temporalio import workflow


@workflow.defn
class Ledger:
    @workflow.init
    def __init__(self, number: int) -> None:
        self._number = number
        self._entries: list[int] = []
        self._closed = False
        self._ballast = bytearray(b"x") * 20_000

    @workflow.run
    async def run(self, number: int) -> list[int]:
        await workflow.wait_condition(lambda: self._closed)
        return [self._number, *self._entries]

    @workflow.signal
    def enter(self, entry: int) -> None:
        self._entries.append(entry)

    @workflow.update
    def balance(self) -> int:
        return self._number + sum(self._entries)

    @workflow.signal
    def close(self) -> None:
        self._closed = True
