"""The wheel that users install, built for the tests that install it."""

import shutil
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
FOLDERS = {
    "protocol": "protocol",
    "supervisor": "supervisor",
    "entity": "entity",
    "deploy/demo": "demo",
    "deploy/systemd": "systemd",
}
"""What is in it, by where it stands in the source: its name below `temporal_fleet`."""


def build_wheel(source: Path, built_in: Path) -> Path:
    """Built from a copy, in `source`: a build in the tree would leave files in it, and take up those of the
    last one."""
    for folder in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, source)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", str(built_in), str(source)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    (built,) = built_in.glob("*.whl")
    return built
