"""Many open executions of the program `ledger`: opened, told things in random order, closed, checked. For who
wants more of them than a cache holds."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from temporalio.client import Client, WorkflowHandle

AT_ONCE = 40

A = TypeVar("A")
R = TypeVar("R")


@dataclass
class Ledger:
    number: int
    handle: WorkflowHandle[object, list[int]]
    entries: list[int] = field(default_factory=list)


async def open_ledgers(client: Client, queue: str, count: int) -> list[Ledger]:
    """That many, each with its first task done."""

    async def open_one(number: int) -> Ledger:
        handle: WorkflowHandle[object, list[int]] = await client.start_workflow(
            "Ledger", number, id=f"{queue}-{number}", task_queue=queue, result_type=list[int]
        )
        ledger = Ledger(number, handle)
        await balance(ledger)
        return ledger

    return await _each(open_one, range(count))


async def enter_everywhere(ledgers: Sequence[Ledger], chance: random.Random) -> None:
    """One entry each, in random order; all have taken it at the end."""

    async def enter(ledger: Ledger) -> None:
        entry = chance.randrange(1000)
        ledger.entries.append(entry)
        await ledger.handle.signal("enter", entry)
        assert await balance(ledger) == ledger.number + sum(ledger.entries)

    await _each(enter, chance.sample(ledgers, k=len(ledgers)))


async def close_all(ledgers: Sequence[Ledger]) -> None:
    """And look whether each kept what it was told, in that order."""

    async def close(ledger: Ledger) -> None:
        await ledger.handle.signal("close")
        assert await ledger.handle.result() == [ledger.number, *ledger.entries]

    await _each(close, ledgers)


async def balance(ledger: Ledger) -> int:
    found: int = await ledger.handle.execute_update("balance", result_type=int)
    return found


async def _each(act: Callable[[A], Awaitable[R]], arguments: Iterable[A]) -> list[R]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(argument: A) -> R:
        async with gate:
            return await act(argument)

    return list(await asyncio.gather(*(one(argument) for argument in arguments)))
