"""Another user for the processes under test, who can come to what they run from, wherever that is."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from temporal_fleet.supervisor.config.host import Account, account, refused

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as somebody else")

_OPENED = """
set -e
mount -t tmpfs -o mode=755 none /mnt
mkdir /mnt/kept
mount --bind "$1" /mnt/kept
mount -t tmpfs -o mode=755 none "$0"
mkdir -p "$1"
mount --bind /mnt/kept "$1"
shift
exec "$@"
"""


def nobody() -> Account:
    found = account("nobody")
    assert found is not None
    return found


def seen_by_all() -> tuple[str, ...]:
    """What to put before a command so that `nobody` can run its interpreter: one in a closed home is shown,
    alone, in a mount namespace of the command's own."""
    home, installed = Path.home(), Path(sys.base_prefix).resolve()
    if not refused(nobody(), [(Path(sys.executable), os.R_OK)]):
        return ()
    if not installed.is_relative_to(home):
        pytest.skip(f"nobody cannot come to {sys.executable}")
    return ("unshare", "-m", "sh", "-c", _OPENED, str(home), str(installed))


@contextmanager
def public_folder() -> Iterator[Path]:
    """Unlike pytest's own, whose parents are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="tf-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
