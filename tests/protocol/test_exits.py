"""What an exit code tells: few say something of their own, and everything else is a crash."""

import os

import pytest

from temporal_fleet.protocol.exits import ExitCode, Verdict, verdict

SPECIAL: dict[int | None, Verdict] = {
    ExitCode.STOPPED: Verdict.LEFT,
    ExitCode.ORPHANED: Verdict.LEFT,
    ExitCode.CLUSTER_UNREACHABLE: Verdict.CLUSTER,
    ExitCode.CLUSTER_REFUSED: Verdict.CLUSTER,
    ExitCode.PROGRAM_UNUSABLE: Verdict.PROGRAM,
    ExitCode.NO_BLACK_BOX: Verdict.HOST,
}


@pytest.mark.parametrize("code", [None, *range(-64, 256)])
def test_every_code_has_a_verdict(code: int | None) -> None:
    assert verdict(code) is (SPECIAL.get(code, Verdict.CRASH))


def test_the_numbers_are_those_of_sysexits() -> None:
    assert ExitCode.CLUSTER_UNREACHABLE == os.EX_UNAVAILABLE
    assert ExitCode.CLUSTER_REFUSED == os.EX_NOPERM
    assert ExitCode.PROGRAM_UNUSABLE == os.EX_CONFIG
    assert ExitCode.ORPHANED == os.EX_TEMPFAIL
    assert ExitCode.WORKER_FAILED == os.EX_SOFTWARE
