"""A machine of its own for the tests: a real systemd that boots in namespaces, on a copy of this host's file
system that takes what is written to it and is gone afterwards. The network is this host's, its loopback too.

Nothing of it may reach the host: /tmp, /run, /proc and the control groups are its own, /sys is read-only.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.waiting import wait_until

_SYSTEMD = Path("/lib/systemd/systemd")
_NEEDED = ("unshare", "nsenter", "mount", "pivot_root", "systemctl", "systemd-analyze", "journalctl")

_BOOT = """
set -euo pipefail
root=$1/root
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
shift
# What is to be seen there, from wherever it is here: FROM TO pairs.
while [ $# -gt 0 ]; do
  mkdir -p "$root$2"
  mount --bind "$1" "$root$2"
  shift 2
done
mount -t tmpfs tmpfs "$root/tmp"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
# What this host starts is none of this machine's business.
rm -rf "$root"/etc/systemd/system/*.wants "$root"/lib/systemd/system/*.target.wants
mkdir -p "$root/run/systemd/system" "$root/run/host"
cat > "$root/run/systemd/system/machine.target" <<END
[Unit]
DefaultDependencies=no
Wants=systemd-journald.service
END
cd "$root"
pivot_root . run/host
umount -l /run/host
# Among its own namespaces, as on any machine: credentials reach a service in this way.
mount --make-rshared /
export container=other
exec /lib/systemd/systemd --system --unit=machine.target --log-target=console --show-status=no
"""


def why_impossible() -> str:
    """Why no such machine can be had here; empty: it can."""
    if os.geteuid() != 0:
        return "only root may boot a systemd in namespaces"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if missing or not _SYSTEMD.exists():
        return f"no {', '.join(missing) or _SYSTEMD} here (Debian: apt-get install systemd util-linux)"
    if _groups() is None:
        return "no cgroup2 hierarchy is mounted here"
    tried = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount", "--cgroup", "--uts", "--ipc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"namespaces are not allowed here: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """Boots on `with`. `seen`: folders of this host, by where they are to be seen there."""

    def __init__(self, folder: Path, seen: Mapping[Path, Path]) -> None:
        self._folder = folder
        self._seen = seen
        self._log = folder / "boot.log"
        groups = _groups()
        assert groups is not None
        self._group = groups / f"temporal-fleet-test-{os.getpid()}"

    def __enter__(self) -> Self:
        place = self._folder / "machine"
        place.mkdir()
        self._group.mkdir()
        pairs = [str(path) for there, here in self._seen.items() for path in (here, there)]
        # In its own control group before its control group namespace is made: that is its root.
        enter = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
        namespaces = ["unshare", "--fork", "--kill-child", "--pid", "--mount", "--cgroup", "--uts", "--ipc"]
        boot = ["bash", "-c", _BOOT, "boot", str(place), *pairs]
        with self._log.open("wb") as log:
            self._outer = subprocess.Popen(
                ["bash", "-c", enter, str(self._group), *namespaces, *boot],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._init = wait_until(self._booted, within=30, what="systemd has booted")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    def run(
        self, *words: str | Path, check: bool = True, within: float = 60, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there, as root. What it printed, errors among it, is its stdout."""
        # By the command itself, so that what it printed is not lost.
        limit = ("timeout", "--verbose", str(within))
        done = subprocess.run(
            self._words([*limit, *words]),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=_ENVIRONMENT,
        )
        failed = check and done.returncode != 0
        assert not failed, f"{words}: {done.returncode}\n{done.stdout}\n{self.journal()}"
        return done

    def start(self, *words: str | Path) -> subprocess.Popen[bytes]:
        """Run a command there, without waiting for its end."""
        return subprocess.Popen(
            self._words(words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_ENVIRONMENT,
        )

    def journal(self) -> str:
        return subprocess.run(
            self._words(["journalctl", "--no-pager", "-n", "200", *_NOT_THE_KERNEL]),
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        ).stdout

    def path(self, path: str | Path) -> Path:
        """A path there, from here."""
        return Path(f"/proc/{self._init}/root{path}")

    def pid(self, there: int) -> int:
        """The PID here of a process of that machine."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with suppress(OSError):
                numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:"))
                if numbers.split()[2:] == [str(there)] and self._is_inside(status.parent):
                    return int(status.parent.name)
        raise AssertionError(f"no process {there} in the machine")

    def _is_inside(self, process: Path) -> bool:
        return (process / "ns/pid").readlink() == Path(f"/proc/{self._init}/ns/pid").readlink()

    def _words(self, words: Sequence[str | Path]) -> list[str | Path]:
        return ["nsenter", "-t", str(self._init), *_ALL_OF_IT, "--", *words]

    def _booted(self) -> int | None:
        assert self._outer.poll() is None, f"no systemd has booted:\n{self._log.read_text()}"
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if not children or "systemd" not in Path(f"/proc/{children[0]}/comm").read_text():
            return None
        self._init = int(children[0])
        asked = subprocess.run(
            self._words(["systemctl", "is-active", "--quiet", "machine.target"]),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return self._init if asked.returncode == 0 else None

    def _end(self) -> None:
        """With its first process, all of its processes end."""
        self._outer.kill()
        self._outer.wait()
        wait_until(lambda: not _populated(self._group), what="the machine's processes have ended")
        for folder in sorted(self._group.glob("**/"), key=lambda path: -len(path.parts)):
            folder.rmdir()


_ALL_OF_IT = ("-m", "-p", "-C", "-i", "-u", "-r", "-w")
_NOT_THE_KERNEL = ("_TRANSPORT=stdout", "_TRANSPORT=journal", "_TRANSPORT=syslog")
_ENVIRONMENT = {
    "PATH": "/opt/temporal-fleet/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LC_ALL": "C.UTF-8",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}


def _groups() -> Path | None:
    """The folder of this process's control group in the unified hierarchy, where others can be made."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    found = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    own = [line.removeprefix("0::") for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = [path for path in own if path.startswith("/")]
    if not found or not own:
        return None
    # From within a container the path may not be below the mount.
    below = found[0] / own[0].lstrip("/")
    folder = below if below.is_dir() else found[0]
    return folder if os.access(folder, os.W_OK) else None


def _populated(group: Path) -> bool:
    return "populated 1" in (group / "cgroup.events").read_text()
