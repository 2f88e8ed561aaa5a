"""The real command, run as its user runs it: a process of its own, its streams, its exit status."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ARGV = (sys.executable, "-m", "temporal_fleet.supervisor.cli.main")


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit status {self.status}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


@dataclass(frozen=True)
class Command:
    """`temporal-fleet` in one working folder, for a user of its own."""

    folder: Path
    environ: Mapping[str, str]

    def __call__(self, *words: str, within: float = 60, **environ: str) -> Result:
        done = subprocess.run(
            [*ARGV, *words],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=within,
            check=False,
        )
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    @contextmanager
    def running(self, *words: str) -> Iterator[subprocess.Popen[str]]:
        """The command while it runs; killed at the end when it still does."""
        process = subprocess.Popen(
            [*ARGV, *words],
            cwd=self.folder,
            env=dict(self.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def command_in(folder: Path, runtime: Path) -> Command:
    """`runtime` is where run directories come by default; socket paths want it short."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TEMPORAL_", "XDG_", "RUNTIME_", "STATE_", "_TEMPORAL"))
    }
    environ.update(XDG_RUNTIME_DIR=str(runtime), HOME=str(folder), NO_COLOR="1")
    return Command(folder, environ)
