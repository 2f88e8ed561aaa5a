"""The title of a real process, as others see it."""

import os
import subprocess
import sys
from pathlib import Path

from temporal_fleet.protocol.title import ROOM

PROGRAM = """
import os, sys
from pathlib import Path
from temporal_fleet.protocol.title import prepare_title, set_short_name, set_title
first = Path("/proc/self/comm").read_text()
prepare_title()
assert Path("/proc/self/comm").read_text() == first
set_short_name("orders-3")
before = Path("/proc/self/environ").read_bytes()
set_title("shop", "fork server " + "x" * 1000)
set_title("shop", "orders-3 ready 412 cached")
if os.fork() == 0:
    set_title("shop", "orders-4 starting")
    print(Path("/proc/self/cmdline").read_text().rstrip("\\0"), flush=True)
    os._exit(0)
os.wait()
print(Path("/proc/self/cmdline").read_text().rstrip("\\0"))
print(Path("/proc/self/comm").read_text().strip())
print(Path("/proc/self/environ").read_bytes() == before, b"MARK=us" in before, "SPT_NOENV" in os.environ)
print(len(sys.argv[1]))
"""


def test_a_title_takes_the_place_of_the_command_line_and_of_nothing_else(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, program, ROOM],
        env={**os.environ, "MARK": "us"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == [
        "temporal-fleet: shop orders-4 starting",
        "temporal-fleet: shop orders-3 ready 412 cached",
        "orders-3",
        "True True False",
        str(len(ROOM)),
    ]
