"""Lines in a real journal: a journald of the test's own, in a mount namespace, and a service's cgroup."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.cli.log_lines import Choice
from temporal_fleet.supervisor.cli.logs import journal_of
from temporal_fleet.supervisor.cli.place import Place
from temporal_fleet.supervisor.shell.journal import JournalPlace, journal_place

JOURNALD = Path("/lib/systemd/systemd-journald")

SET_UP = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
umount -R /sys/fs/cgroup 2>/dev/null || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
group=/sys/fs/cgroup/shop-$$.service
mkdir "$group"
systemd=$1
$systemd >/dev/null 2>&1 &
journald=$!
leave() {
    kill $journald
    wait $journald || true
    while read -r pid; do kill "$pid"; done < "$group/cgroup.procs"
    until rmdir "$group" 2>/dev/null; do sleep 0.01; done
}
trap leave EXIT
until [ -S /run/systemd/journal/stdout ]; do sleep 0.01; done
"$2" -c "$3" "$group"
"""

READER = """
import json, subprocess, sys
from itertools import islice
from pathlib import Path
from temporal_fleet.supervisor.cli.journal import Journal
from temporal_fleet.supervisor.cli.log_lines import Choice
from tests.waiting import wait_until

group = Path(sys.argv[1])
SERVICE = '''
import json, os, sys
from temporal_fleet.supervisor.shell.journal import journal_place
# As a service manager would have told it.
stream = os.fstat(2)
print(journal_place({"JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"}).unit)
def say(entity, level, event):
    print(json.dumps({"event": event, "level": level, "entity": entity, "pool": "orders"}))
say("orders-1", "info", "first")
say("orders-2", "error", "second")
sys.stdout.flush()
os.write(1, b"no \\\\xff UTF-8\\\\n")
sys.stdin.readline()
say("orders-1", "info", "third")
'''
enter = lambda: (group / "cgroup.procs").write_text("0")
service = subprocess.Popen(
    ["systemd-cat", sys.executable, "-c", SERVICE], stdin=subprocess.PIPE, preexec_fn=enter
)
def journal(**choice):
    return Journal(group.name, False, Choice(**{"level": "debug", **choice}))
def events(lines):
    return [line.told["event"] for line in lines]
wait_until(lambda: len(list(journal().last(None))) == 4, what="four lines")
everything, nothing = journal(), journal()
print(json.dumps([
    events(everything.last(None)), events(journal().last(2)), events(journal(level="error").last(None)),
    events(journal(target="orders-1").last(None)), events(journal(target="orders").last(1)),
    events(nothing.last(0)),
]), flush=True)
service.stdin.write(b"go on\\n")
service.stdin.close()
print(json.dumps([events(islice(each.follow(), 1)) for each in (everything, nothing)]))
service.wait()
"""


@pytest.mark.skipif(os.geteuid() != 0 or not JOURNALD.exists(), reason="only root can run a journald")
def test_lines_of_a_service_are_read_from_the_journal_and_followed() -> None:
    done = subprocess.run(
        ["unshare", "--mount", "--cgroup", "sh", "-c", SET_UP, "sh", JOURNALD, sys.executable, READER],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (everything, last, errors, entity, pool, nothing), followed = map(json.loads, done.stdout.splitlines())
    unit, *lines = everything
    assert unit.startswith("shop-")
    assert unit.endswith(".service")
    assert lines == ["first", "second", "no \\xff UTF-8"]
    assert last == ["second", "no \\xff UTF-8"]
    assert (errors, entity, pool) == (["second"], ["first"], ["second"])
    assert nothing == []
    assert followed == [["third"], ["third"]]


def test_a_choice_among_lines_that_do_not_tell_is_said_to_miss_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "fleet.toml"
    place = Place(name="shop", run=RunDirectory(tmp_path / "run"), config=config, words="")

    def said(log_format: str, choice: Choice) -> str:
        config.write_text(f'[fleet]\nlog_format = "{log_format}"\n')
        journal_of("shop.service", place, choice, user=False)
        return capsys.readouterr().err

    assert "a TARGET and --level miss most" in said("console", Choice("error"))
    assert "a TARGET and --level miss most" in said("console", Choice("debug", target="orders"))
    assert said("console", Choice("debug")) == said("auto", Choice("error")) == ""


def test_streams_that_are_not_the_journals_are_told_apart(tmp_path: Path) -> None:
    stream = os.fstat(2)
    ours = f"{stream.st_dev}:{stream.st_ino}"
    cgroup = tmp_path / "cgroup"
    cgroup.write_text("1:cpu:/\n0::/user.slice/user-1.slice/user@1.service/app.slice/shop.service\n")
    assert journal_place({"JOURNAL_STREAM": ours}, cgroup) == JournalPlace("shop.service", user=True)
    assert journal_place({"JOURNAL_STREAM": "1:2"}, cgroup) == JournalPlace()
    assert journal_place({}, cgroup) == JournalPlace()
    cgroup.write_text("0::/user.slice/session-3.scope\n")
    assert journal_place({"JOURNAL_STREAM": ours}, cgroup) == JournalPlace()
