"""A fleet as its user has it: a folder, the `temporal-fleet` command and its JSON. No story, no display."""

import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Self

COMMAND = (sys.executable, "-m", "temporal_fleet.supervisor.cli.main")
_NAME = "temporal-fleet"
_LOG_TAIL_LINES = 25
_STOP_WITHIN_S = 30.0
_ANSWER_WITHIN_S = 30.0

Status = dict[str, Any]
"""What `temporal-fleet status --json` prints."""


def shown_command() -> str:
    """The command as it can be typed in this shell."""
    if shutil.which(_NAME):
        return _NAME
    installed = Path(sys.executable).with_name(_NAME)
    here = Path.cwd()
    return str(installed.relative_to(here) if installed.is_relative_to(here) else installed)


class FleetTrouble(Exception):
    """The fleet did not do what the demo needs; the message says what, and shows its log."""


class Fleet:
    """A fleet in a working folder of its own, started on entry and stopped on exit.

    On exit nothing is left of it, neither process nor file, unless it is told to stay.
    """

    def __init__(self, source: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="temporal-fleet-demo-"))
        self.config = self.folder / "fleet.toml"
        self.log = self.folder / "fleet.log"
        shutil.copy(source / "fleet.toml", self.config)
        shutil.copytree(source / "shop", self.folder / "shop", ignore=shutil.ignore_patterns("__pycache__"))
        self.stays = False
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*COMMAND, "up", "-c", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C is for the demo, which then stops the fleet in order.
                start_new_session=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self.stays:
            return
        try:
            self._stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        # The second signal means `at once`, to the fleet as to the demo.
        for _ in range(2):
            if process.poll() is not None:
                return
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                process.wait(_STOP_WITHIN_S)
        if process.poll() is None:
            process.kill()
            process.wait()

    def trouble(self, what: str) -> FleetTrouble:
        tail = self.log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return FleetTrouble("\n".join([what, f"The end of the fleet's log ({self.log}):", *tail]))

    def check_alive(self) -> None:
        """Raises FleetTrouble when the supervisor has ended."""
        code = self._process.poll() if self._process else None
        if code is not None:
            raise self.trouble(f"`{_NAME} up` ended with exit status {code}.")

    async def command(self, *words: str) -> str:
        """What `temporal-fleet WORDS -c fleet.toml` prints. Raises FleetTrouble when it fails."""
        async with self._running(*words, stderr=asyncio.subprocess.PIPE) as process:
            try:
                out, err = await asyncio.wait_for(process.communicate(), _ANSWER_WITHIN_S)
            except TimeoutError:
                raise self.trouble(f"`{_NAME} {' '.join(words)}` does not answer.") from None
        if process.returncode != 0:
            said = (err + out).decode(errors="replace").strip()
            raise self.trouble(f"`{_NAME} {' '.join(words)}` failed: {said}")
        return out.decode()

    async def status(self) -> Status:
        """Raises FleetTrouble when the fleet does not answer."""
        status: Status = json.loads(await self.command("status", "--json"))
        return status

    async def status_once_up(self) -> Status | None:
        """The status, or None while nobody answers yet. Raises FleetTrouble when the fleet has ended."""
        self.check_alive()
        try:
            return await self.status()
        except FleetTrouble:
            self.check_alive()
            return None

    async def statuses(self) -> AsyncIterator[Status]:
        """What `temporal-fleet status --watch --json` prints: one about each second."""
        async with self._running("status", "--watch", "--json", stderr=asyncio.subprocess.DEVNULL) as process:
            assert process.stdout is not None
            async for line in process.stdout:
                yield json.loads(line)
        raise self.trouble(f"`{_NAME} status --watch` ended.")

    async def events(self, on_listening: Callable[[], None]) -> AsyncIterator[dict[str, Any]]:
        """What `temporal-fleet events --json` prints, for as long as it is read."""
        async with self._running("events", "--json", stderr=asyncio.subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            # Its first words on stderr are that it listens, or why it cannot.
            said = await process.stderr.readline()
            if b"listening" not in said:
                raise self.trouble(f"`{_NAME} events` failed: {said.decode(errors='replace').strip()}")
            on_listening()
            async for line in process.stdout:
                yield json.loads(line)

    @contextlib.asynccontextmanager
    async def _running(self, *words: str, stderr: int) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *words,
            "-c",
            str(self.config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            # One status of a large fleet is one line.
            limit=1 << 24,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
