"""Memory of real processes."""

import os

from temporal_fleet.supervisor.shell.vitals import Vitals
from tests.shell.processes import SLEEP, ended_after, shell, wait_for_zombie


def test_a_living_process_has_both_figures() -> None:
    memory = Vitals().read(os.getpid(), pss=True)
    assert memory is not None
    assert memory.pss is not None
    assert 1 << 20 < memory.pss <= memory.rss


def test_pss_is_read_only_when_it_is_asked_for() -> None:
    memory = Vitals().read(os.getpid(), pss=False)
    assert memory is not None
    assert memory.pss is None


def test_a_process_that_is_gone_has_none() -> None:
    pid = shell("exit 0")
    os.waitpid(pid, 0)
    assert Vitals().read(pid, pss=True) is None


def test_a_zombie_costs_nobody_an_error() -> None:
    pid = shell(SLEEP)
    with ended_after(pid):
        os.kill(pid, 9)
        wait_for_zombie(pid)
        memory = Vitals().read(pid, pss=True)
        assert memory is None or not memory.pss
