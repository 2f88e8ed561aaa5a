"""A settled heap has no holes, in a process of its own: this one's heap is settled once only."""

import subprocess
import sys

_ABOVE_ALL = """
import gc
from temporal_fleet.entity.heap import settle_heap

# Over 512 bytes, so that each is an allocation of malloc's; every second one leaves a hole.
blocks = [bytes(600 + 8 * number) for number in range(2000)]
top = max(map(id, blocks))
del blocks[::2]
{settle}
print(all(id(block) > top for block in [bytes(size) for size in range(560, 4000, 40)]), gc.get_freeze_count())
"""


def test_what_is_allocated_later_lies_above_all_that_was_there() -> None:
    assert _run("settle_heap()").startswith("True ")
    assert _run("").startswith("False "), "else the test shows nothing"


def test_what_is_there_is_kept_from_the_collector() -> None:
    assert int(_run("settle_heap()").split()[1]) > 1000


def _run(settle: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _ABOVE_ALL.format(settle=settle)], capture_output=True, text=True, check=True
    )
    return done.stdout
