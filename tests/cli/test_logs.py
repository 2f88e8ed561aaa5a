"""`logs` over real files: the last lines of several logs, and what is added while they are rotated."""

import json
import os
import shutil
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from typing import TypeVar

import pytest

from temporal_fleet.protocol.logfile import LogFile, former
from temporal_fleet.protocol.spec import LogFiles
from temporal_fleet.supervisor.cli import log_files
from temporal_fleet.supervisor.cli.log_files import LogReader
from temporal_fleet.supervisor.cli.log_lines import Choice
from tests.fleet import COMMAND, command

LINES = 600
MINUTE_1 = datetime(2026, 11, 27, 15, 1, tzinfo=UTC).timestamp()

T = TypeVar("T")


@pytest.fixture
def log_dir(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "fleet.toml").write_text(
        '[fleet]\nname = "shop"\nrun_dir = "run"\nlog_dir = "logs"\n'
        '[pools.orders]\nprogram = "shop"\ntask_queue = "orders"\n'
    )
    yield tmp_path / "logs"
    while _written:
        _written.pop().close()


_written: list[LogFile] = []


def log(log_dir: Path, name: str, size: int = 1000) -> LogFile:
    file = LogFile(LogFiles(folder=str(log_dir), size=size, keep=LINES), name, 2, str.encode)
    _written.append(file)
    return file


def line(number: int, level: str = "info", **more: str) -> bytes:
    told = {"timestamp": f"2026-11-27T15:{number // 60:02}:{number % 60:02}.000000Z", "level": level}
    return (json.dumps({**told, "event": f"line {number}", **more}) + "\n").encode()


def logs(log_dir: Path, *arguments: str) -> list[str]:
    done = command("logs", "-c", str(log_dir.parent / "fleet.toml"), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def events(
    log_dir: Path, target: str | None = None, number: int | None = None, **choice: float | str
) -> list[str]:
    chosen = Choice(**{"level": "debug", **choice})  # type: ignore[arg-type]
    return [each.told["event"] for each in LogReader(log_dir, target, chosen).last(number)]


@pytest.fixture
def three(log_dir: Path) -> Path:
    """Two entities of a pool and another's, whose lines alternate, over rotations."""
    files = {name: log(log_dir, name) for name in ("orders-1", "orders-2", "billing-1", "supervisor")}
    for number in range(120):
        files[("orders-1", "orders-2", "billing-1")[number % 3]].write(
            line(number, "error" if number % 10 == 0 else "info")
        )
    files["supervisor"].write(line(120, "warning", process="supervisor"))
    files["orders-1"].write(b"what a C library \xff says\n")
    files["orders-1"].write(line(121, exception="Traceback: here"))
    assert len(list(log_dir.glob("orders-1.log*"))) > 2
    return log_dir


def test_the_last_lines_of_all_or_of_some_in_the_order_of_time(three: Path) -> None:
    assert events(three, number=5) == [
        "line 118",
        "line 119",
        "line 120",
        "what a C library \\xff says",
        "line 121",
    ]
    assert events(three, "orders", 42) == [
        *(f"line {number}" for number in range(60, 120) if number % 3 != 2),
        "what a C library \\xff says",
        "line 121",
    ]
    assert events(three, "billing-1", level="error") == ["line 20", "line 50", "line 80", "line 110"]
    assert events(three, "supervisor") == ["line 120"]
    assert len(events(three)) == 123
    assert len(events(three, "orders-2", since=MINUTE_1)) == 20


def test_of_an_entity_or_a_pool_the_supervisors_lines_are_shown_too(three: Path) -> None:
    supervisor = log(three, "supervisor")
    reader = LogReader(three, "billing", Choice("info", since=MINUTE_1 + 62), is_followed=True)
    assert list(reader.last(None)) == []
    for number, entity in enumerate(("billing-1", "orders-1"), 130):
        told = {"pool": entity[:-2], "entity": entity}
        supervisor.write(line(number, process="supervisor", **told))
    assert next(reader.follow()).told["entity"] == "billing-1"
    assert events(three, "orders-1", 2) == ["line 121", "line 131"]
    assert events(three, "orders-2", 1) == ["line 118"]


def test_the_dev_servers_lines_are_in_its_own_words(log_dir: Path) -> None:
    said = b'{"time":"2026-11-27T15:00:01Z","level":"WARN","msg":"slow","component":"history"}\n'
    # Where there is no log_dir.
    log(log_dir.parent / "run", "dev-server").write(said)
    config = log_dir.parent / "fleet.toml"
    config.write_text(config.read_text().replace('log_dir = "logs"', ""))
    (shown,) = logs(log_dir, "dev-server", "--level", "warning")
    assert shown.endswith("warning   dev server  slow  component=history")


def test_people_see_who_says_what_and_scripts_read_it(three: Path) -> None:
    raw, last, exception = logs(three, "orders-1", "-n", "2")
    assert raw.endswith("info      orders-1  what a C library \\xff says")
    assert last.endswith("info      orders-1  line 121")
    assert exception == "Traceback: here"
    told = list(map(json.loads, logs(three, "--json", "--since", "2026-11-27T15:02Z")))
    assert [(each["event"], each.get("entity")) for each in told] == [
        ("line 120", None),
        ("what a C library \\xff says", "orders-1"),
        ("line 121", "orders-1"),
    ]


def test_whatever_a_program_has_logged_is_shown_and_steers_no_terminal(log_dir: Path) -> None:
    said = "\x1b]0;title\x07 two\nlines\ta tab \ud83d"
    odd: dict[str, object] = {"event": said, "note": "\x9b2J\r", "pool": ["orders"], "process": {}}
    file = log(log_dir, "orders-1")
    file.write((json.dumps({**odd, "exception": "Traceback:\n  \x1b[2J"}) + "\n").encode())
    log(log_dir, "supervisor").write((json.dumps({**odd, "entity": {}}) + "\n").encode())
    shown, *below = logs(log_dir, "orders-1")
    assert shown.endswith("\\x1b]0;title\\x07 two\\nlines\ta tab \\ud83d  note=\\x9b2J\\r")
    assert below == ["Traceback:", "  \\x1b[2J"]
    (document,) = logs(log_dir, "orders-1", "--json")
    assert json.loads(document)["event"] == said


def test_a_terminal_without_utf_8_shows_what_it_cannot_by_number(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(log_dir, "orders-1").write(line(1, place="→"))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    (shown,) = logs(log_dir)
    assert shown.endswith("place=\\u2192")


def test_what_follows_is_whole_over_any_number_of_rotations(log_dir: Path) -> None:
    files = [log(log_dir, "orders-1"), log(log_dir, "orders-2", size=300)]
    for file in files:
        file.write(line(0))
    reader = LogReader(log_dir, "orders", Choice("debug"), is_followed=True)
    assert [each.told["event"] for each in reader.last(10)] == ["line 0", "line 0"]

    def write() -> None:
        for number in range(1, LINES):
            files[number % 2].write(line(number))
        late = log(log_dir, "orders-3")
        late.write(line(LINES))

    writing = threading.Thread(target=write)
    writing.start()
    following: Iterator[str] = (each.told["event"] for each in reader.follow())
    seen = list(islice(following, LINES))
    writing.join()
    assert sorted(seen) == sorted(f"line {number}" for number in range(1, LINES + 1))
    odd = [int(event.split()[1]) % 2 for event in seen]
    assert [event for event, is_odd in zip(seen, odd, strict=True) if is_odd] == [
        f"line {number}" for number in range(1, LINES, 2)
    ]


@pytest.mark.parametrize("every", range(1, 12))
def test_a_rotation_between_any_two_steps_of_who_follows_costs_no_line(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    file = log(log_dir, "orders-1", size=200)
    file.write(line(0))
    to_write, steps = iter(range(1, 200)), count(1)

    def between(step: Callable[..., T]) -> Callable[..., T]:
        """The step, and sometimes lines that come right after it."""

        def stepped(*arguments: object) -> T:
            result = step(*arguments)
            if next(steps) % every == 0:
                # More than one rotation.
                for number in islice(to_write, 7):
                    file.write(line(number))
            return result

        return stepped

    reader = LogReader(log_dir, "orders-1", Choice("debug"), is_followed=True)
    assert [each.told["event"] for each in reader.last(10)] == ["line 0"]
    monkeypatch.setattr(log_files, "_LOOK_EVERY", 0)
    monkeypatch.setattr(log_files, "_opened", between(log_files._opened))
    monkeypatch.setattr(log_files._Tail, "read_on", between(log_files._Tail.read_on))
    seen = [each.told["event"] for each in islice(reader.follow(), 199)]
    assert seen == [f"line {number}" for number in range(1, 200)]


def test_a_log_that_is_rotated_by_a_copy_or_taken_away_is_followed_on(log_dir: Path) -> None:
    file, other = log(log_dir, "orders-1"), log(log_dir, "orders-1")
    path = log_dir / "orders-1.log"
    file.write(line(0) + line(1))
    reader = LogReader(log_dir, "orders-1", Choice("debug"), is_followed=True)
    assert len(list(reader.last(None))) == 2
    following = reader.follow()
    shutil.copy(path, former(path, 1))
    os.truncate(path, 0)
    file.write(line(2))
    assert next(following).told["event"] == "line 2"
    path.unlink()
    other._look_at = 0
    other.write(line(3))
    # Of a process that has not noticed yet.
    file.write(line(4))
    assert sorted(each.told["event"] for each in islice(following, 2)) == ["line 3", "line 4"]


def test_any_amount_since_a_moment_is_read_while_it_is_printed(log_dir: Path) -> None:
    file = log(log_dir, "orders-1", size=1 << 19)
    for number in range(3000):
        file.write(line(number, padding="x" * 1000))
    reader = LogReader(log_dir, None, Choice("debug", since=MINUTE_1))
    tracemalloc.start()
    try:
        numbers = [int(each.told["event"].split()[1]) for each in reader.last(None)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert numbers == list(range(60, 3000))
    assert peak < 1 << 20
    for begin in (0, 511, 1500, 2999):
        reader = LogReader(log_dir, None, Choice("debug", since=MINUTE_1 - 60 + begin))
        assert sum(1 for _ in reader.last(None)) == 3000 - begin


def test_a_last_line_without_an_end_is_shown_at_once_or_followed_until_it_is_whole(log_dir: Path) -> None:
    file = log(log_dir, "orders-1")
    file.write(line(0) + b"killed in the mid")
    for arguments in (["-n", "5"], ["--since", "2026-01-01"]):
        assert logs(log_dir, *arguments)[-1].endswith("killed in the mid")
    reader = LogReader(log_dir, None, Choice("debug"), is_followed=True)
    assert [each.told["event"] for each in reader.last(None)] == ["line 0"]
    file.write(b"dle\n")
    assert next(reader.follow()).told["event"] == "killed in the middle"


def test_there_may_be_more_logs_than_a_process_opens_at_once(log_dir: Path) -> None:
    log_dir.mkdir()
    for number in range(1, 101):
        (log_dir / f"orders-{number}.log").write_bytes(line(number))
    config = str(log_dir.parent / "fleet.toml")

    def allowed(limit: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        shell = [
            "sh",
            "-c",
            f'ulimit {limit} && exec "$@"',
            "sh",
            str(COMMAND),
            "logs",
            "-c",
            config,
            *arguments,
        ]
        return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)

    assert len(allowed("-n 60", "-n", "1000").stdout.splitlines()) == 100
    assert len(allowed("-Sn 60", "--since", "2026-01-01").stdout.splitlines()) == 100
    too_few = allowed("-n 60", "--since", "2026-01-01")
    assert too_few.returncode == 1
    assert "Too many open files" in too_few.stderr
    assert "raise the hard limit of open files" in too_few.stderr


def test_the_dev_servers_log_is_found_where_it_is_or_said_to_be_nowhere(log_dir: Path) -> None:
    log(log_dir, "orders-1").write(line(1))
    config = str(log_dir.parent / "fleet.toml")
    none = command("logs", "-c", config, "dev-server")
    assert none.returncode == 1
    assert f"there is no log of a dev server in {log_dir}, {log_dir.parent / 'run'}" in none.stderr
    log(log_dir.parent / "run", "dev-server").write(line(2))
    (shown,) = logs(log_dir, "dev-server")
    assert shown.endswith("dev server  line 2")


def test_what_is_no_log_is_not_read(three: Path) -> None:
    (three / "orders-7.log").symlink_to("/etc/hostname")
    os.mkfifo(three / "orders-8.log")
    (three / "orders-9.log").mkdir()
    assert len(events(three)) == 123


def test_who_cannot_be_answered_is_told_why(three: Path, tmp_path: Path) -> None:
    config = str(three.parent / "fleet.toml")
    unknown = command("logs", "-c", config, "shipping")
    assert unknown.returncode == 2
    assert (
        "no pool, entity or helper is named shipping; there are: agent, billing, billing-1" in unknown.stderr
    )
    log_dir = three.rename(tmp_path / "elsewhere")
    three.write_text("")
    unreadable = command("logs", "-c", config)
    assert unreadable.returncode == 1
    assert f"cannot read {three}: Not a directory" in unreadable.stderr
    three.unlink()
    log_dir.rename(three)
    when = command("logs", "-c", config, "--since", "yesterday")
    assert when.returncode == 2
    assert "'yesterday' is neither a duration" in when.stderr
    text = (tmp_path / "fleet.toml").read_text()
    (tmp_path / "fleet.toml").write_text(text.replace('log_dir = "logs"', ""))
    nowhere = command("logs", "-c", config)
    assert nowhere.returncode == 1
    assert "set [fleet] log_dir" in nowhere.stderr
