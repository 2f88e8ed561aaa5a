"""Puts unit files onto this host, or into an image, and makes systemd know them. What stands in them is in
unit_files."""

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from temporal_fleet.supervisor.cli.failure import Failure, Problems, say
from temporal_fleet.supervisor.cli.unit_files import SYSUSERS, TMPFILES, UNIT, UnitFile

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
"""What `ProtectHome=` hides."""


def command() -> Path:
    """The absolute path of the installed command."""
    beside = Path(sys.executable).parent / "temporal-fleet"
    called = Path(sys.argv[0])
    if beside.is_file() or called.name != "temporal-fleet":
        return beside
    return Path(shutil.which(called) or called).absolute()


def installed_user() -> str:
    """Empty: no unit is installed."""
    try:
        found = re.search(r"^User=(.+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        return ""
    return found[1] if found else ""


def must_be_possible() -> None:
    """Raises Failure where no service of this host could run this installation, or we may not make one."""
    if os.geteuid() != 0:
        raise Failure("only root may install services", "use sudo, or write into an image: --root DIR")
    if why := _obstacle(command()):
        raise Failure(
            f"a service could not run this installation: {why}",
            "install it where only root writes and everybody reads, such as:",
            "  python3 -m venv /opt/temporal-fleet && /opt/temporal-fleet/bin/pip install temporal-fleet",
        )


def must_be_readable(config: Path, folders: Iterable[Path], user: str) -> None:
    """Raises Problems with what a service that runs as this user cannot come to, though root can."""
    from temporal_fleet.supervisor.config.host import account, refused

    as_whom = account(user)
    if as_whom is None:
        return
    wanted = [(config, os.R_OK), *((folder, os.R_OK | os.X_OK) for folder in dict.fromkeys(folders))]
    if closed := refused(as_whom, wanted):
        problems = [f"{path}: chmod or chown it, or the folders above" for path in closed]
        raise Problems(f"{user} cannot read what the fleet needs", problems)


def write(file: UnitFile, root: Path) -> None:
    """Raises Failure."""
    path = root / file.path.relative_to("/")
    try:
        if path.exists() and path.read_text(encoding="utf-8") == file.text:
            say(f"is up to date: {path}")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text, encoding="utf-8")
        # Nothing in it is secret, whatever the umask of the administrator.
        path.chmod(0o644)
    except OSError as error:
        remedy = "run it as root, or into a folder of yours: --root DIR"
        raise Failure(f"cannot write {path}: {error.strerror}", remedy) from error
    say(f"wrote {path}")


def tell_system() -> None:
    """Raises Failure."""
    _run("systemd-sysusers", str(SYSUSERS))
    _run("systemd-tmpfiles", "--create", str(TMPFILES))
    # As sd_booted(3) tells: elsewhere there is nobody to tell.
    if Path("/run/systemd/system").is_dir():
        _run("systemctl", "daemon-reload")


def _obstacle(command: Path) -> str:
    """Why a service could not, or should not, run a command; empty: it can."""
    for path in (command, Path(sys.executable)):
        for place in dict.fromkeys((path, path.resolve())):
            if any(home in place.parents for home in _HOMES):
                return f"{place} is in a home folder, which services do not see"
            if not place.exists():
                return f"there is no {place}"
            found = place.stat()
            if found.st_uid != 0 or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return f"{place} may be written by others than root, as whom the unit runs it at a stop"
    return ""


def _run(*words: str) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError as error:
        problem = f"cannot run {words[0]}: {error.strerror}"
        raise Failure(problem, "Debian: apt-get install systemd") from error
    if done.returncode != 0:
        problem = f"{' '.join(words)} failed: {done.stderr.strip() or done.stdout.strip()}"
        raise Failure(problem, "see what the journal says of it: journalctl -b")
    say(f"ran {' '.join(words)}")
