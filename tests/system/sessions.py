"""A command in a session of its own, with folders of its own, of which nothing may be left behind."""

import os
import secrets
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

_MARK = "TEMPORAL_FLEET_TEST"


class Session:
    """`folder` is short, since socket paths are, and is the TMPDIR and XDG_RUNTIME_DIR of what is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.temporary = folder / "tmp"
        self.state = folder / "state"
        self.log = folder / "log"
        self.temporary.mkdir()
        self._mark = secrets.token_hex(8)
        self.environment: dict[str, str] = {
            **os.environ,
            "TMPDIR": str(self.temporary),
            "XDG_RUNTIME_DIR": str(self.temporary),
            "XDG_STATE_HOME": str(self.state),
            _MARK: self._mark,
        }

    def start(
        self, *command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """In the background, its output in the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=cwd or self.folder,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def processes(self) -> list[psutil.Process]:
        """All that descends from what was run here, whoever is its parent by now."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get(_MARK) == self._mark and process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                # Gone, or not ours to look at.
                continue
            if ours:
                found.append(process)
        return found

    def end(self) -> None:
        for process in self.processes():
            try:
                process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue


@contextmanager
def session() -> Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="tf-") as name:
        here = Session(Path(name))
        try:
            yield here
        except BaseException as error:
            error.add_note(f"--- output\n{here.output()[-20_000:]}")
            raise
        finally:
            here.end()
