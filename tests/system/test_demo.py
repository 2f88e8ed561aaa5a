"""The demo, run as its user runs it: every order completes, and nothing is left behind however it ends."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from temporal_fleet.demo import shop
from tests.system.sessions import Session, session
from tests.waiting import wait_until

DEMO = (sys.executable, "-m", "temporal_fleet.demo")
_WITHIN_S = 100.0


@pytest.fixture
def here() -> Iterator[Session]:
    with session() as new:
        yield new


def test_every_order_completes_although_an_entity_is_killed(here: Session) -> None:
    demo = here.start(*DEMO, "--orders", "40")
    assert demo.wait(_WITHIN_S) == 0, here.output()
    output = here.output()
    assert "orders completed   │ 40 of 40" in output
    assert re.search(r"entities restarted │ 1 ", output)
    assert re.search(r"\d+ ms from SIGKILL of orders-\d \(pid \d+\) to its replacement polling", output)
    assert "shipping from 2 to 4" in output
    assert "shipping-4" in output
    assert "\x1b" not in output, "control sequences where no terminal is"
    _assert_nothing_is_left(here)


def test_ctrl_c_stops_the_fleet_and_removes_its_folder(here: Session) -> None:
    demo = here.start(*DEMO, "--orders", "100")
    wait_until(lambda: "placed: 25 of 100" in here.output(), within=60, what="orders are placed")
    demo.send_signal(signal.SIGINT)
    assert demo.wait(_WITHIN_S) == 130
    assert "interrupted" in here.output()
    _assert_nothing_is_left(here)


def test_a_fleet_that_cannot_start_is_told_with_its_log(here: Session) -> None:
    deep = here.temporary / ("long" * 25)
    deep.mkdir()
    demo = here.start(*DEMO, environment={"TMPDIR": str(deep)})
    assert demo.wait(_WITHIN_S) == 1
    assert "`temporal-fleet up` ended" in here.output()
    assert "set [fleet] run_dir to a shorter folder" in here.output()
    assert not list(deep.iterdir())
    assert not here.processes()


def test_stay_leaves_the_fleet_running_and_tells_how_to_go_on(here: Session) -> None:
    status, output = _on_a_terminal([*DEMO, "--stay", "--orders", "20"], here)
    assert status == 0, output
    assert "\x1b[" in output, "a live table on a terminal"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output).replace("\r", "")
    assert "20 of 20" in plain

    ui = re.search(r"web UI: (http://127\.0\.0\.1:\d+)", plain)
    assert ui, plain
    with urllib.request.urlopen(ui[1], timeout=10) as page:
        assert page.status == 200

    commands = re.findall(r"^  (\S*temporal-fleet \S.*)$", plain, flags=re.MULTILINE)
    (stop,) = [command for command in commands if " stop " in command]
    (dump,) = [command for command in commands if " dump " in command]
    assert "thread 0x" in _shell(dump, here)
    _shell(stop, here)
    _assert_nothing_is_left(here)


def test_the_shop_knows_nothing_of_what_runs_it() -> None:
    for file in Path(shop.__file__).parent.glob("*.py"):
        assert "temporal_fleet" not in file.read_text()


def _assert_nothing_is_left(here: Session) -> None:
    wait_until(lambda: not here.processes(), what="no process is left")
    assert list(here.temporary.iterdir()) == []
    assert not here.state.exists()


def _shell(command: str, here: Session) -> str:
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=here.folder,
        env=here.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def _on_a_terminal(command: list[str], here: Session) -> tuple[int, str]:
    """Exit status and all output of a command whose standard streams are a terminal."""
    ours, theirs = pty.openpty()
    environment = {**here.environment, "TERM": "xterm-256color", "COLUMNS": "160", "LINES": "50"}
    process = subprocess.Popen(
        command, cwd=here.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    output = bytearray()
    deadline = time.monotonic() + _WITHIN_S
    try:
        while time.monotonic() < deadline:
            if not select.select([ours], [], [], 1.0)[0]:
                continue
            try:
                output += os.read(ours, 1 << 16)
            except OSError:
                # EIO: nobody has the terminal open any more.
                return process.wait(10), output.decode(errors="replace")
    finally:
        os.close(ours)
        process.kill()
        process.wait()
    raise AssertionError(f"not over within {_WITHIN_S:.0f} s:\n{output.decode(errors='replace')}")
