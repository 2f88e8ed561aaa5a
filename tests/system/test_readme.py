"""README.md does what it says: each of its commands is run, in its order, in a fresh copy of the sources.

A block of `sh` is a terminal; what stays in the foreground there is left running while the next blocks are
gone through, until its place is needed. A block of `toml` is what the text before it calls it: fleet.toml,
or, where it names no program, what is to be added to it.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fleet import COMMAND
from tests.pages import blocks, lines
from tests.system.sessions import Session, session
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
_IN_THE_FOREGROUND = ("temporal-fleet up", "temporal-fleet run")
_WITHIN_S = 240.0


@pytest.fixture
def here() -> Iterator[Session]:
    with session() as new:
        yield new


class Reader:
    """Somebody who follows the README in a checkout."""

    def __init__(self, here: Session) -> None:
        self._here = here
        self.folder = here.folder / "checkout"
        _copy_sources(self.folder)
        own = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{here.environment['PATH']}"
        # As on a machine where nothing of ours was ever installed.
        without = {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
        without |= {"MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES"}
        self._environment = {k: v for k, v in here.environment.items() if k not in without} | {"PATH": own}
        self._foreground: subprocess.Popen[bytes] | None = None

    def write_config(self, text: str) -> None:
        (self.folder / "fleet.toml").write_text(text)

    def add_to_config(self, text: str) -> None:
        config = self.folder / "fleet.toml"
        config.write_text(f"{config.read_text()}\n{text}")

    def type(self, line: str) -> str:
        """Run one line; what it printed."""
        if line.startswith("cd "):
            self.folder /= line.removeprefix("cd ")
            return ""
        if line.startswith(_IN_THE_FOREGROUND):
            self._run_in_the_foreground(line)
            return ""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_WITHIN_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}"
        return done.stdout

    def interrupt(self) -> None:
        """Ctrl-C in the terminal that is busy."""
        if self._foreground is not None and self._foreground.poll() is None:
            self._foreground.send_signal(signal.SIGINT)
        self.await_end()

    def await_end(self) -> None:
        if self._foreground is not None:
            assert self._foreground.wait(60) == 0, self._here.output()
            self._foreground = None

    def _run_in_the_foreground(self, line: str) -> None:
        self.interrupt()
        already_said = len(self._here.output())
        self._foreground = process = self._here.start(
            *line.split(), cwd=self.folder, environment=self._environment
        )

        def runs() -> bool:
            assert process.poll() is None, f"{line}\n{self._here.output()}"
            # `run` has no file: it says how to talk to its fleet.
            told = re.search(r"(temporal-fleet status --fleet \S+)", self._here.output()[already_said:])
            ask = told[1] if told else "temporal-fleet status"
            asked = subprocess.run(
                [*ask.split(), "--json"],
                cwd=self.folder,
                env=self._environment,
                capture_output=True,
                text=True,
                check=False,
            )
            return '"state": "running"' in asked.stdout

        wait_until(runs, within=60, what=f"the fleet of `{line}` runs")


@pytest.mark.timeout(600)
def test_every_command_does_what_it_says(here: Session) -> None:
    reader = Reader(here)
    printed: dict[str, str] = {}
    for language, block in blocks(README.read_text()):
        if language == "toml":
            if "program = " in block:
                reader.interrupt()
                reader.write_config(block)
            else:
                reader.add_to_config(block)
        elif language == "sh":
            for line in lines(block):
                printed[line] = reader.type(line)
    reader.await_end()

    assert "300 of 300" in printed["make demo"]
    assert "orders-4" in printed["temporal-fleet status"]
    assert "thread 0x" in printed["temporal-fleet dump orders-1"]
    assert "entities = 6" in (reader.folder / "fleet.toml").read_text()
    wait_until(lambda: not here.processes(), what="no process is left")


def test_commands_within_the_text_exist(here: Session) -> None:
    text = "".join(re.split(r"```.*?```", README.read_text(), flags=re.DOTALL))
    named = {words[1] for words in re.findall(r"`(temporal-fleet|make) ([a-z-]+)[^`]*`", text)}
    of_fleet = set(re.findall(r"`temporal-fleet ([a-z]+)", text))
    assert {"init", "events"} <= of_fleet <= named
    for word in sorted(of_fleet):
        _succeed([COMMAND, word, "--help"], here)
    for target in sorted(named - of_fleet):
        _succeed(["make", "--dry-run", "-C", str(REPOSITORY), target], here)


def _succeed(command: list[str | Path], here: Session) -> None:
    done = subprocess.run(command, env=here.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def _copy_sources(folder: Path) -> None:
    """What is under version control, and nothing that was made since."""
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "run", "state")
    for name in ("protocol", "supervisor", "entity", "deploy"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile"):
        shutil.copy(REPOSITORY / name, folder)
