"""Finding the sticky queue's name: it is what the Cluster knows the queue by, and no other's."""

import ctypes
import mmap
import os
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.client import Client, WorkflowHandle

from temporal_fleet.entity.sticky import _slices, find_sticky_queue
from tests.conftest import DevServer
from tests.entity.recorded import WORKFLOWS, CountTo, new_identity, recorded_worker
from tests.waiting import eventually

_MIB = 1024 * 1024
_SLICE = 64 * 1024
"""Bytes that are looked through at a time."""


async def sticky_queues(handle: WorkflowHandle[CountTo, int]) -> set[str]:
    history = await handle.fetch_history()
    queues = [
        event.workflow_task_scheduled_event_attributes.task_queue
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED
    ]
    return {queue.name for queue in queues if queue.kind == TaskQueueKind.TASK_QUEUE_KIND_STICKY}


async def test_the_name_is_the_one_in_history_and_known_before_any_task(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    client = await Client.connect(dev_server.address, identity=new_identity())
    async with recorded_worker(client, task_queue, tmp_path / "box", workflows=WORKFLOWS) as recorded:
        name = await find_sticky_queue(client.identity)
        handle = await client.start_workflow(CountTo.run, 100, id=f"w-{task_queue}", task_queue=task_queue)
        await eventually(lambda: recorded.executions.blocked == 1, what="the first task")
        assert await handle.execute_update(CountTo.count) == 1
        assert await sticky_queues(handle) == {name}
        await handle.terminate()


async def test_one_worker_is_not_taken_for_another(
    dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    identity = new_identity()
    first = await Client.connect(dev_server.address, identity=identity)
    second = await Client.connect(dev_server.address, identity=f"{identity}0")
    async with (
        recorded_worker(second, task_queue, tmp_path / "second", workflows=WORKFLOWS),
        recorded_worker(first, task_queue, tmp_path / "first", workflows=WORKFLOWS),
    ):
        names = [await find_sticky_queue(one) for one in (identity, f"{identity}0")]
    assert [name.rpartition("-")[0] for name in names if name] == [identity, f"{identity}0"]


async def test_who_has_no_worker_has_no_sticky_queue() -> None:
    assert await find_sticky_queue(new_identity()) is None


@pytest.mark.parametrize("before", [1, 20, 60, 90])
async def test_a_name_that_lies_across_two_slices_is_found(before: int) -> None:
    identity = f"{new_identity()}/{'long' * 10}/{before}"
    with mmap.mmap(-1, 3 * _SLICE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as region:
        assert await find_sticky_queue(identity) is None
        region.seek(_boundary(region) - before)
        # In two parts, or it would stand elsewhere too: all of this process's memory is looked through.
        region.write(identity.encode())
        region.write(b"-" + b"8" * 32)
        found = await find_sticky_queue(identity)
        assert found is not None
        assert found.removeprefix(identity) == "-" + "8" * 32


async def test_a_name_is_found_deep_in_large_memory_beside_a_file_of_any_name(tmp_path: Path) -> None:
    identity = new_identity()
    file = os.fsencode(tmp_path) + b"/no \xff UTF-8 \xe2\x80\xa8"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT)
    os.ftruncate(descriptor, _SLICE)
    with (
        mmap.mmap(descriptor, _SLICE),
        mmap.mmap(-1, 320 * _MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as region,
    ):
        os.close(descriptor)
        assert file in Path("/proc/self/maps").read_bytes()
        region.write(identity.encode())
        region.write(b"-" + b"8" * 32)
        found = await find_sticky_queue(identity)
        assert found is not None
        assert found.removeprefix(identity) == "-" + "8" * 32


def test_a_large_heap_keeps_nothing_else_from_being_looked_through_nor_does_large_data() -> None:
    arena, data, heap = (0x7000_0000_0000, 32 * _MIB), (0x6000_0000_0000, 4096 * _MIB), (0x5000_0000_0000,)
    maps = "".join(
        (
            f"{heap[0]:x}-{heap[0] + 600 * _MIB:x} rw-p 00000000 00:00 0                   [heap]\n",
            f"{data[0]:x}-{sum(data):x} rw-p 00000000 00:00 0 \n",
            f"{arena[0]:x}-{sum(arena):x} rw-p 00000000 00:00 0 \n",
            f"{sum(arena):x}-{sum(arena) + 4096:x} r--p 00000000 00:00 0 \n",
        )
    )
    slices = list(_slices(maps.encode(), 0))
    assert sum(end - begin for begin, end in slices) == 1024 * _MIB
    assert slices[0] == (heap[0] + 600 * _MIB - _SLICE, heap[0] + 600 * _MIB)
    tops = [end for _, end in slices]
    assert tops.index(sum(arena)) == 64 * _MIB // _SLICE
    assert tops.index(heap[0] + 536 * _MIB) == (64 + 32) * _MIB // _SLICE + 1
    assert tops.index(sum(data)) == (64 + 32 + 536) * _MIB // _SLICE + 1


def _boundary(region: mmap.mmap) -> int:
    """Where in it one slice ends and another begins: they are counted from the end of what the kernel calls
    one region, in which ours may stand with its neighbours."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(region))
    for line in Path("/proc/self/maps").read_text().splitlines():
        low, _, high = line.split()[0].partition("-")
        if int(low, 16) <= start < int(high, 16):
            return (int(high, 16) - start) % _SLICE + _SLICE
    raise AssertionError("it is in no region")
