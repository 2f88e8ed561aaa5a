"""Podman with images and containers of its own, gone afterwards. Nothing is fetched: the image that others
are built on is a bare frame, in which this host's /usr and interpreter are seen, read-only.

The containers are real: namespaces, control groups and limits are the kernel's. The network is this host's.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.fleet import command_line
from tests.waiting import wait_until

_RUNTIMES = ("crun", "runc")
"""One may not know the control groups of a host that the other knows."""
_USERS = ("passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf", "ld.so.cache")
_IN_USR = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_EMPTY = ("dev", "home", "opt", "proc", "root", "run", "srv", "sys", "usr", "var", "var/lib")
_GROUPS = Path("/sys/fs/cgroup")

_INSTALLING = "[install]\nno-index = true\nno-deps = true\nfind-links = /wheels\n"
_BORROWING = 'import sys\nsys.path.append("/borrowed")\n'
"""Behind what is installed there."""


class NoEngine(Exception):
    """Why there can be none here."""


class Engine:
    """On `with`. `base`: how the image is called that others are built on. `wheels`: the folder in which pip
    finds all that it installs; dependencies are borrowed from the test run."""

    def __init__(self, folder: Path, base: str, wheels: Path) -> None:
        self._folder = folder
        self._base = base
        self._wheels = wheels
        self._configuration = folder / "containers.conf"
        self._environment = {
            **os.environ,
            "CONTAINERS_CONF": str(self._configuration),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def __enter__(self) -> Self:
        """Raises NoEngine."""
        if os.geteuid() != 0:
            raise NoEngine("only root may bind this host's folders into containers")
        if shutil.which("podman") is None:
            raise NoEngine("no podman here (Debian: apt-get install podman runc)")
        storage = '[storage]\ndriver = "overlay"\n'
        places = f'graphroot = "{self._folder}/images"\nrunroot = "{self._folder}/run"\n'
        (self._folder / "storage.conf").write_text(storage + places)
        (self._folder / "pip.conf").write_text(_INSTALLING)
        (self._folder / "site").mkdir()
        (self._folder / "site" / "sitecustomize.py").write_text(_BORROWING)
        try:
            self._use(*_RUNTIMES)
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

    def run(self, *words: str | Path, check: bool = True, cwd: Path | None = None) -> str:
        """What the command printed on both its streams."""
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=100,
            env=self._environment,
            cwd=cwd,
        )
        assert not check or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def _use(self, *runtimes: str) -> None:
        """The first that can run something."""
        failures = []
        for runtime in filter(shutil.which, runtimes):
            self._configuration.write_text(self._configured(runtime))
            try:
                self._import_base()
                self.run("podman", "run", "--rm", "--memory", "64m", self._base, "true")
            except AssertionError as error:
                failures.append(str(error))
            else:
                return
        raise NoEngine(f"no container can be run here: {failures or runtimes}")

    def _at_work(self) -> list[psutil.Process]:
        """Processes of this engine: each is told where its images are."""
        return [each for each in psutil.process_iter() if str(self._folder) in command_line(each)]

    def _configured(self, runtime: str) -> str:
        seen = {
            "/usr": "/usr",
            sys.base_prefix: sys.base_prefix,
            sysconfig.get_path("purelib"): "/borrowed",
            str(self._wheels): "/wheels",
            str(self._folder / "pip.conf"): "/etc/pip.conf",
            str(self._folder / "site"): "/site",
        }
        volumes = ", ".join(f'"{here}:{there}:ro"' for here, there in seen.items())
        return (
            # Those of podman are more than this host may give.
            '[containers]\ndefault_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]\n'
            f'netns = "host"\nenv = ["PYTHONPATH=/site"]\nvolumes = [{volumes}]\n'
            f'[engine]\nruntime = "{runtime}"\ncgroup_manager = "cgroupfs"\n'
            # Or the podman of this host would take what is ours for its own.
            f'tmp_dir = "{self._folder}/libpod"\nlock_type = "file"\nevents_logger = "none"\n'
        )

    def _import_base(self) -> None:
        frame = self._folder / "frame.tar"
        with tarfile.open(frame, "w") as archive:
            for entry in _frame():
                archive.addfile(entry)
            for name in _USERS:
                if Path("/etc", name).exists():
                    archive.add(f"/etc/{name}", f"etc/{name}")
        path = f"ENV PATH={sys.base_prefix}/bin:/usr/local/bin:/usr/bin:/usr/sbin"
        library = f"ENV LD_LIBRARY_PATH={sys.base_prefix}/lib"
        self.run("podman", "import", "--change", path, "--change", library, frame, self._base)

    def _end(self) -> None:
        self.run("podman", "rm", "--all", "--force", "--time", "0", "--volumes", check=False)
        # Each container that ends has its own cleaned up behind it, which mounts the images once more.
        wait_until(lambda: not self._at_work(), what="podman has cleaned up")
        # It binds its images to themselves, so that nobody else sees what is mounted there.
        for mounted in (self._folder / "images" / "overlay", self._folder / "images"):
            subprocess.run(["umount", "--lazy", mounted], capture_output=True, check=False)
        for group in (*_GROUPS.glob("*/libpod_parent"), _GROUPS / "libpod_parent"):
            for path in (group / "conmon", group):
                with suppress(OSError):
                    path.rmdir()


def _frame() -> Iterator[tarfile.TarInfo]:
    for name in _EMPTY:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        yield entry
    entry = tarfile.TarInfo("tmp")
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
    yield entry
    for name in _IN_USR:
        if Path("/", name).is_symlink():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            yield entry
