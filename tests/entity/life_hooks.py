"""Hooks of a Worker Program, called in each entity before it connects."""

import asyncio
import os


def leaves_a_mark() -> None:
    print(f"hook in {os.getpid()}")


async def leaves_a_mark_later() -> None:
    await asyncio.sleep(0)
    print(f"hook in {os.getpid()}")


def fails() -> None:
    raise ConnectionError("the database is away")


_begun: list[asyncio.Task[None]] = []


async def produces() -> None:
    _begun.append(asyncio.create_task(_produce()))


async def _produce() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        print("what it had is saved")
