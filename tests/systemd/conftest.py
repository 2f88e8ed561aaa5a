"""One machine with temporal-fleet in /opt/temporal-fleet, for all tests of this folder in one process."""

import importlib
import os
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import Machine, why_impossible

PREFIX = Path("/opt/temporal-fleet")
_PACKAGES = ("protocol", "supervisor", "entity", "systemd")
_SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"


@pytest.fixture(scope="session")
def machine() -> Iterator[Machine]:
    if why := why_impossible():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="tf-") as name:
        folder = Path(name)
        with Machine(folder, _installation(folder)) as machine:
            yield machine


def _installation(folder: Path) -> dict[Path, Path]:
    """What `python3 -m venv` and `pip install` would make there, out of what is installed here: no package
    index is asked. Its interpreter, and the packages of others, are those of the test run."""
    interpreter = Path(sys.base_prefix)
    is_system = Path("/usr") in (interpreter, *interpreter.parents)
    # An interpreter in a home folder is seen by no service.
    base = interpreter if is_system else Path("/opt/python")
    venv = folder / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / _SITE).mkdir(parents=True)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in ("python", "python3"):
        (venv / "bin" / python).symlink_to(base / "bin" / version)
    (venv / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\ninclude-system-site-packages = false\n")
    (venv / _SITE / "others.pth").write_text(f"{PREFIX}-packages\n")
    command = venv / "bin" / "temporal-fleet"
    command.write_text(
        f"#!{PREFIX}/bin/python\nfrom temporal_fleet.supervisor.cli.main import main\n\nmain()\n"
    )
    for package in _PACKAGES:
        (source,) = importlib.import_module(f"temporal_fleet.{package}").__path__
        shutil.copytree(source, venv / _SITE / "temporal_fleet" / package)
    for path in (folder, *venv.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path == command else 0o644)
    others = Path(sysconfig.get_path("purelib"))
    seen = {PREFIX: venv, Path(f"{PREFIX}-packages"): others}
    if is_system:
        return seen
    # Nor does it find its own library there, where it has one.
    drop_in = folder / "drop-in"
    drop_in.mkdir(mode=0o755)
    (drop_in / "interpreter.conf").write_text(f"[Service]\nEnvironment=LD_LIBRARY_PATH={base}/lib\n")
    return {**seen, base: interpreter, Path("/usr/lib/systemd/system/temporal-fleet@.service.d"): drop_in}


@pytest.fixture(scope="session", autouse=True)
def _umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)
