"""Giving memory back, in a process of which other threads collect rubbish too."""

import gc
import threading
import weakref

from temporal_fleet.entity.memory import give_back
from tests.waiting import wait_until


class Knot:
    """Rubbish that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


class SlowKnot(Knot):
    """One whose end takes until it is told."""

    def __init__(self, ending: threading.Event, go_on: threading.Event) -> None:
        super().__init__()
        self._ending = ending
        self._go_on = go_on

    def __del__(self) -> None:
        self._ending.set()
        self._go_on.wait(60)


def test_a_collection_that_is_under_way_is_waited_for() -> None:
    ending, go_on = threading.Event(), threading.Event()
    collecting = threading.Thread(target=gc.collect)
    giving_back = threading.Thread(target=give_back)
    # Or this thread might come upon it first.
    gc.disable()
    SlowKnot(ending, go_on)
    try:
        collecting.start()
        assert ending.wait(60)
        rubbish = weakref.ref(Knot())
        assert gc.collect() == 0
        assert rubbish() is not None
        giving_back.start()
    finally:
        gc.enable()
        go_on.set()
        collecting.join()
    wait_until(lambda: not giving_back.is_alive(), within=60, what="it is given back")

    assert rubbish() is None
