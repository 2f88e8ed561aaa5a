"""`up --watch`: a process beside the supervisor that has it reload whenever something was saved. It needs the
`watch` extra, and threads, which the supervisor must not have. What a reload then finds is not known here.

Run as a module, with the config file as its argument, by the process that it signals.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import NoReturn

from temporal_fleet.protocol.lifeline import die_with
from temporal_fleet.supervisor.cli.failure import Failure, say

QUIET = 0.2
"""Seconds without another save before the reload: an editor, or a checkout, writes many files."""
_LONGEST = 2.0
"""Seconds of saving after which it reloads all the same."""
_CODE = {".py", ".so"}


def start_watcher(config: Path) -> None:
    """Beside this process, which is about to be the supervisor, and ends with it. Raises Failure."""
    if importlib.util.find_spec("watchfiles") is None:
        raise Failure("--watch needs watchfiles", "install it with: pip install 'temporal-fleet[watch]'")
    # A save may come before the supervisor has its handlers.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, str(config)],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=partial(die_with, os.getpid()),  # noqa: PLW1509 - one Python thread
    )


def watch_for(supervisor: int, config: Path) -> NoReturn:
    """Raises OSError where the kernel watches no more files."""
    from watchfiles import watch

    folders = _folders(config)
    while True:
        changes = watch(
            *folders,
            config if config.exists() else config.parent,
            watch_filter=lambda _, path: path == str(config) or Path(path).suffix in _CODE,
            step=int(QUIET * 1000),
            debounce=int(_LONGEST * 1000),
        )
        for saved in changes:
            os.kill(supervisor, signal.SIGHUP)
            if any(path == str(config) for _, path in saved):
                # It may name other folders, and it may be another file under the same name.
                break
        folders = _folders(config) or folders


def _folders(config: Path) -> set[Path]:
    """Of the programs; none where the file cannot be used, which the supervisor tells by itself."""
    from temporal_fleet.supervisor.config.reader import ConfigError, load

    try:
        pools = load(config, dict(os.environ)).pools.values()
    except ConfigError:
        return set()
    return _outermost(Path(pool.path) for pool in pools)


def _outermost(folders: Iterable[Path]) -> set[Path]:
    """Each is watched with all that is in it."""
    given = {folder for folder in folders if folder.is_dir()}
    return {folder for folder in given if not given.intersection(folder.parents)}


def main() -> None:
    try:
        watch_for(os.getppid(), Path(sys.argv[1]))
    except OSError as error:
        say(f"--watch has ended: {error}; raise fs.inotify.max_user_watches, or start it again")
        sys.exit(1)


if __name__ == "__main__":
    main()
