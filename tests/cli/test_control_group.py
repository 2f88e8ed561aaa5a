"""Control groups as the kernel shows them, in trees of files like its own."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from temporal_fleet.supervisor.cli import control_group
from temporal_fleet.supervisor.core.host_health import Group, Limit

MEMORY = 16 << 30
SERVICE = "system.slice/system-tf.slice/tf@shop.service"
NAME = "the control group tf@shop.service"
SLICE = "the control group system.slice"


def tree(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        pytest.param(
            [f"0::/{SERVICE}"],
            {
                f"{SERVICE}/memory.max": "1073741824\n",
                f"{SERVICE}/memory.current": "900\n",
                f"{SERVICE}/memory.stat": "anon 100\ninactive_file 300\n",
                f"{SERVICE}/memory.events": "low 0\noom 4\noom_kill 2\n",
                f"{SERVICE}/pids.max": "max\n",
                f"{SERVICE}/pids.current": "12\n",
                "system.slice/pids.max": "500\n",
                "system.slice/pids.current": "80\n",
            },
            Group(
                NAME,
                memory=Limit(NAME, 1 << 30, 600),
                memory_max=1 << 30,
                pids=Limit(SLICE, 500, 80),
                oom_kills=2,
            ),
            id="v2, one limit of its own and one above it",
        ),
        pytest.param(
            [f"0::/{SERVICE}"],
            {
                f"{SERVICE}/memory.max": "1000\n",
                f"{SERVICE}/memory.current": "100\n",
                f"{SERVICE}/pids.max": "50\n",
                f"{SERVICE}/pids.current": "5\n",
                "system.slice/memory.max": "2000\n",
                "system.slice/memory.current": "1999\n",
                "system.slice/pids.max": "500\n",
                "system.slice/pids.current": "499\n",
            },
            Group(NAME, memory=Limit(SLICE, 2000, 1999), memory_max=1000, pids=Limit(SLICE, 500, 499)),
            id="v2, a wider limit above that has less left",
        ),
        pytest.param(
            [f"1:name=systemd:/{SERVICE}", f"4:memory:/{SERVICE}", f"8:pids:/{SERVICE}", "0::/"],
            {
                f"memory/{SERVICE}/memory.limit_in_bytes": "1000\n",
                f"memory/{SERVICE}/memory.usage_in_bytes": "900\n",
                f"memory/{SERVICE}/memory.stat": "inactive_file 1\ntotal_inactive_file 50\n",
                f"memory/{SERVICE}/memory.oom_control": "under_oom 0\noom_kill 1\n",
                f"pids/{SERVICE}/pids.max": "100\n",
                f"pids/{SERVICE}/pids.current": "9\n",
            },
            Group(
                NAME, memory=Limit(NAME, 1000, 850), memory_max=1000, pids=Limit(NAME, 100, 9), oom_kills=1
            ),
            id="v1",
        ),
        pytest.param(
            ["0::/docker/4f5e"],
            {"memory.max": "1000\n", "memory.current": "10\n", "pids.max": "max\n"},
            Group(
                "the control group 4f5e", memory=Limit("the control group 4f5e", 1000, 10), memory_max=1000
            ),
            id="a container, whose group is its root",
        ),
        pytest.param(
            ["0::/a"],
            {"a/memory.max": f"{1 << 60}\n", "a/memory.current": "10\n"},
            Group("the control group a"),
            id="a limit beyond the memory of the host",
        ),
        pytest.param(
            ["0::/init.scope"],
            {"init.scope/memory.current": "5\n", "memory.max": "1000\n", "memory.current": "10\n"},
            Group(
                "the control group init.scope",
                memory=Limit("the root control group", 1000, 10),
                memory_max=1000,
            ),
            id="a group in a container, whose root has the limit",
        ),
        pytest.param(
            [f"0::/{SERVICE}"],
            {
                f"{SERVICE}/memory.oom.group": "0\n",
                "system.slice/system-tf.slice/memory.oom.group": "1\n",
                "system.slice/memory.oom.group": "1\n",
                "memory.oom.group": "0\n",
            },
            Group(NAME, dies_as_one=SLICE),
            id="two of which all die together, the outer one counts",
        ),
        pytest.param(
            ["0::/kubepods/4f5e"],
            {"memory.oom.group": "1\n"},
            Group("the control group 4f5e", dies_as_one="the control group 4f5e"),
            id="a container of which all die together",
        ),
        pytest.param([], {}, Group("the root control group"), id="none at all"),
    ],
)
def test_a_group(tmp_path: Path, lines: list[str], files: dict[str, str], expected: Group) -> None:
    assert control_group.group(lines, MEMORY, tree(tmp_path, files)) == expected
