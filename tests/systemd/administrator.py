"""Somebody who follows docs/administration.md on a machine, and the service that comes of it."""

import re
from collections.abc import Callable
from pathlib import Path

import zmq

from temporal_fleet.protocol.report import StatusReport
from temporal_fleet.protocol.rundir import RunDirectory
from tests.fleet import ask
from tests.pages import blocks, lines, sections
from tests.systemd.machine import Machine
from tests.waiting import wait_until

PAGE = Path(__file__).parents[2] / "docs" / "administration.md"
UNIT = "temporal-fleet@shop.service"
CONFIG = "/etc/temporal-fleet/shop.toml"
_NOT_HERE = (
    # No index is asked, and nothing is installed while tests run: what these lines bring is there already.
    "apt-get ",
    "python3 -m venv ",
    "/opt/temporal-fleet/bin/pip ",
)
_NAMES_ITS_FILE = re.compile(r"# (/\S+)\n")


class Administrator:
    def __init__(self, machine: Machine, cluster: str, queue: str) -> None:
        """`cluster` stands in the place of temporal.example:7233, `queue` in that of the page's queue."""
        self.machine = machine
        self.queue = queue
        self._instead = {
            "temporal.example:7233": cluster,
            'task_queue = "orders"': f'task_queue = "{queue}"',
        }
        self._sections = sections(PAGE.read_text())
        self.left_out: list[str] = []
        """Commands that were not run here."""

    def headings(self) -> list[str]:
        return list(self._sections)

    def follow(self, heading: str) -> dict[str, str]:
        """Do what a section says. What each command printed."""
        printed = {}
        for language, block in blocks(self._sections[heading]):
            if language == "sh":
                for line in lines(block):
                    printed[line] = self._type(line)
            else:
                named = _NAMES_ITS_FILE.match(block)
                assert named, f"a block of {language} that does not say which file it is"
                for there, here in self._instead.items():
                    block = block.replace(there, here)  # noqa: PLW2901
                self.write(named[1], block)
        return printed

    def write(self, path: str, text: str) -> None:
        self.machine.run("install", "-D", "-m", "0644", "/dev/stdin", path, stdin=text)

    def edit(self, path: str, before: str, after: str) -> None:
        """As editors do, which keep owner and mode."""
        text = self.machine.path(path).read_text()
        assert before in text, f"{before!r} is not in {path}"
        self.machine.path(path).write_text(text.replace(before, after))

    def _type(self, line: str) -> str:
        if line.startswith(_NOT_HERE):
            self.left_out.append(line)
            return ""
        return self.machine.run("bash", "-c", line).stdout


class Service:
    """The service `shop`, looked at from outside."""

    def __init__(self, administrator: Administrator) -> None:
        self.administrator = administrator
        self.machine = administrator.machine
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._run = RunDirectory(self.machine.path("/run/temporal-fleet/shop"))

    def close(self) -> None:
        self._context.destroy(linger=0)

    def show(self, name: str) -> str:
        return self.machine.run("systemctl", "show", f"--property={name}", "--value", UNIT).stdout.strip()

    def main(self) -> int:
        return int(self.show("MainPID"))

    def control(self, *words: str, check: bool = True) -> tuple[int, str]:
        """`systemctl WORDS UNIT`: its exit status, and what it printed."""
        done = self.machine.run("systemctl", *words, UNIT, check=check, within=90)
        return done.returncode, done.stdout

    def processes(self) -> list[int]:
        """All of its control group, by their PIDs there."""
        group = self.show("ControlGroup")
        if not group:
            return []
        done = self.machine.run("cat", f"/sys/fs/cgroup{group}/cgroup.procs", check=False)
        return [int(pid) for pid in done.stdout.split()] if done.returncode == 0 else []

    def kill(self, pid: int, signal: str) -> None:
        self.machine.run("kill", f"-{signal}", str(pid))

    def run_out_of_memory(self, pid: int) -> None:
        """In a control group of its own that has none left, where memory has a hierarchy of the old kind;
        elsewhere by the signal that the kernel would send."""
        limits = Path("/sys/fs/cgroup/memory/temporal-fleet-test")
        try:
            limits.mkdir()
        except OSError:
            self.kill(pid, "KILL")
            return
        here = self.machine.pid(pid)
        (limits / "memory.limit_in_bytes").write_text("4096")
        (limits / "cgroup.procs").write_text(str(here))
        wait_until(lambda: not (limits / "cgroup.procs").read_text(), what="it is out of memory")
        wait_until(lambda: _removed(limits), what="its group is gone")

    def ask(self) -> StatusReport | None:
        return ask(self._context, self._run)

    def wait(
        self, condition: Callable[[StatusReport], object], what: str, within: float = 30.0
    ) -> StatusReport:
        """The first status that meets a condition."""

        def met() -> StatusReport | None:
            report = self.ask()
            return report if report is not None and condition(report) else None

        try:
            return wait_until(met, within=within, what=what)
        except AssertionError as error:
            error.add_note(f"status: {self.ask()}\n{self.machine.journal()[-20_000:]}")
            raise

    def wait_running(self, entities: int) -> StatusReport:
        return self.wait(
            lambda s: s.fleet.state == "running" and len(pids(s)) == entities,
            f"the fleet runs with {entities} entities",
        )

    def drop_in(self, text: str) -> None:
        """Settings of the test's own, instead of those of the last time."""
        path, text = f"/etc/systemd/system/{UNIT}.d/test.conf", f"[Service]\n{text}\n"
        file = self.machine.path(path)
        if not file.exists() or file.read_text() != text:
            self.administrator.write(path, text)
            self.machine.run("systemctl", "daemon-reload")


def pids(report: StatusReport) -> dict[str, int]:
    return {entity.id: entity.pid for entity in report.entities if entity.pid is not None}


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True
