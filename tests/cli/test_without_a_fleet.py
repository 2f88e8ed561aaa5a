"""The command where no fleet runs: the files it writes and checks, and how it says that it cannot."""

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest

from temporal_fleet.protocol.blackbox import VERSION, BlackBoxWriter
from temporal_fleet.protocol.process import own_identity
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.cli.place import Place
from tests.cli.command import ARGV, Command
from tests.protocol.boxes import set_layout

COMMANDS = (
    *("demo", "run", "init", "check", "up", "status", "top", "executions", "events", "doctor"),
    *("plan", "reload", "scale", "restart", "changes", "drain", "resume", "quiet"),
    *("evict", "dump", "stop", "systemd", "completion"),
)
OPERATOR_COMMANDS = (
    ("status",),
    ("status", "--json"),
    ("status", "--watch"),
    ("executions",),
    ("executions", "orders", "--json"),
    ("evict", "orders", "--all"),
    ("plan",),
    ("events",),
    ("reload",),
    ("scale", "orders=3"),
    ("restart",),
    ("changes",),
    ("drain", "orders"),
    ("resume", "orders"),
    ("quiet", "orders-1"),
    ("dump", "orders-1"),
    ("stop",),
)


def test_init_writes_a_file_that_holds(command: Command, folder: Path) -> None:
    written = command("init", "--program", "shop.billing", "-n", "5", "--address", "cluster:7233")
    assert written.status == 0, written
    tree = tomllib.loads((folder / "fleet.toml").read_text())
    assert tree["pools"]["billing"] == {
        "program": "shop.billing",
        "task_queue": "billing",
        "entities": 5,
    }
    assert tree["cluster"] == {"address": "cluster:7233"}
    checked = command("check")
    assert (checked.status, checked.out) == (0, ""), checked
    assert "no errors; fleet shop, 1 pool, 5 entities; a stop may take " in checked.err
    assert "programs are imported by `up` and `reload`, not here" in checked.err


def test_init_overwrites_only_when_told(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text("mine")
    refused = command("init")
    assert refused.status == 1, refused
    assert "fleet.toml is there already" in refused.err
    assert "--force" in refused.err
    assert (folder / "fleet.toml").read_text() == "mine"
    assert command("init", "--force", "--embedded").status == 0
    assert "embedded" in tomllib.loads((folder / "fleet.toml").read_text())["cluster"]


def test_init_writes_nothing_that_would_not_hold(command: Command, folder: Path) -> None:
    refused = command("init", "--program", "shop/orders.py", "--address", "http://x:1")
    assert refused.status == 2, refused
    assert "2 errors in fleet.toml as it would be" in refused.err
    assert not (folder / "fleet.toml").exists()


def test_init_into_a_folder_that_is_not_there(command: Command) -> None:
    refused = command("init", "nowhere/fleet.toml")
    assert (refused.status, refused.err) == (
        1,
        "Error: there is no folder nowhere\n  make it with: mkdir -p nowhere\n",
    )


def test_check_reports_every_error_at_once(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text(
        '[pools.orders]\nprogram = "shop.orders"\ntask_queue = "orders"\nentities = "4"\nsize = 1\n'
    )
    checked = command("check")
    assert (checked.status, checked.out) == (1, ""), checked
    heading, *problems = checked.err.splitlines()
    assert heading == "Error: 2 errors in fleet.toml"
    assert problems[0].startswith("fleet.toml:4: pools.orders.entities")
    assert problems[1].startswith("fleet.toml:5: pools.orders.size")


def test_up_refuses_a_file_with_errors(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text('[pools.orders]\nprogram = "shop.orders"\n')
    refused = command("up")
    assert refused.status == 1, refused
    assert "pools.orders.task_queue" in refused.err
    assert "Traceback" not in refused.err


def test_run_names_the_option_that_is_wrong(command: Command) -> None:
    refused = command("run", "shop/orders.py", "-q", "orders", "--embedded", "--address", "a:1")
    assert refused.status == 2, refused
    assert 'PROGRAM = "shop/orders.py"' in refused.err
    assert "--address" in refused.err


def test_check_shows_the_config_with_its_defaults(command: Command, folder: Path) -> None:
    command("init")
    shown = command("check", "--show")
    assert shown.status == 0, shown
    tree = tomllib.loads(shown.out)
    assert tree["pools"]["orders"]["drain"] == "30s"
    assert tree["pools"]["orders"]["path"] == str(folder)


def test_check_prints_the_schema_without_a_file(command: Command) -> None:
    printed = command("check", "--schema")
    assert printed.status == 0, printed
    assert "pools" in json.loads(printed.out)["properties"]


@pytest.mark.parametrize("words", OPERATOR_COMMANDS, ids=" ".join)
def test_a_fleet_that_does_not_run_is_told_at_once(
    command: Command, run_dir: Path, words: tuple[str]
) -> None:
    command("init")
    told = command(*words)
    assert (told.status, told.out) == (1, ""), told
    assert f"no fleet runs in {run_dir}" in told.err
    assert "start it with: temporal-fleet up -c fleet.toml" in told.err


def test_a_fleet_by_name_that_does_not_run(command: Command, run_dir: Path) -> None:
    told = command("status", "--fleet", "shop")
    assert told.status == 1, told
    assert f"no fleet runs in {run_dir}" in told.err
    assert "temporal-fleet run PROGRAM -q QUEUE --name shop" in told.err


def test_the_run_directory_is_found_in_a_file_with_errors(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text('[fleet]\nrun_dir = "here"\n[pools.orders]\nentities = "many"\n')
    assert f"no fleet runs in {folder}/here" in command("status").err


def test_the_config_file_may_come_from_the_environment(command: Command, folder: Path) -> None:
    (folder / "other.toml").write_text('[fleet]\nname = "other"\n')
    told = command("status", TEMPORAL_FLEET_CONFIG="other.toml")
    assert "temporal-fleet/other" in told.err, told


def test_a_fleet_of_a_service_is_started_as_one() -> None:
    """/etc is the host's: the places alone are asked."""
    run = RunDirectory("/run/temporal-fleet/shop")
    by_file = Place("shop", run, Path("/etc/temporal-fleet/shop.toml"), " -c shop.toml")
    by_name = Place("shop", run, None, " --fleet shop")
    elsewhere = Place("shop", RunDirectory("/run/user/1/shop"), None, " --fleet shop")
    own = Place("shop", run, Path("/home/me/my shop/fleet.toml"), "")
    assert [place.start for place in (by_file, by_name, elsewhere, own)] == [
        "systemctl start temporal-fleet@shop",
        "systemctl start temporal-fleet@shop",
        None,
        "temporal-fleet up -c '/home/me/my shop/fleet.toml'",
    ]


@pytest.mark.parametrize("text", ["[fleet", "\0", "a = " + "[" * 3000], ids=["torn", "binary", "nested"])
def test_a_file_that_is_no_toml(command: Command, folder: Path, text: str) -> None:
    (folder / "fleet.toml").write_text(text)
    told = command("stop")
    assert told.status == 1, told
    assert "fleet.toml is no TOML" in told.err
    assert "--fleet" not in told.err, "no fleet runs that could be named so"


def test_a_file_whose_run_dir_is_no_path(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text('[fleet]\nrun_dir = "a\\u0000b"\n')
    told = command("status")
    assert (told.status, "Traceback" in told.err) == (1, False), told
    assert "fleet.run_dir" in told.err


def test_no_file_at_all(command: Command) -> None:
    told = command("status")
    assert told.status == 1, told
    assert "there is no config file fleet.toml" in told.err
    assert "temporal-fleet init" in told.err


@pytest.mark.parametrize("layout", [VERSION, VERSION - 1])
def test_a_stale_run_directory_names_the_orphans(command: Command, run_dir: Path, layout: int) -> None:
    run = RunDirectory(run_dir)
    run.entities.mkdir(parents=True)
    run.lock.touch()
    run.control.touch()
    # This process stands in for an entity that outlived its supervisor: what matters is that it lives.
    BlackBoxWriter(run.blackbox("orders-1", 7), "orders-1", 7, own_identity())
    set_layout(run.blackbox("orders-1", 7), layout)
    told = command("status", "--fleet", "shop")
    assert told.status == 1, told
    assert "its supervisor died" in told.err
    assert f"orders-1 (PID {os.getpid()})" in told.err


def test_a_run_directory_whose_path_is_too_long_for_sockets(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text(f'[fleet]\nrun_dir = "/tmp/{"x" * 120}"\n')
    told = command("status")
    assert told.status == 1, told
    assert "set [fleet] run_dir to a shorter folder" in told.err
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    "words",
    [
        ("status", "--fleet", "shop", "-c", "fleet.toml"),
        ("status", "--fleet", "../shop"),
        ("scale", "orders"),
        ("scale", "orders=-1"),
        ("scale", "orders=1", "orders=2"),
        ("scale",),
        ("executions", "--sort", "size"),
        ("evict", "--all"),
        ("changes", "0"),
        ("changes", "reload"),
        ("drain",),
        ("quiet", "orders-1", "orders-2"),
        ("evict", "orders", "--fleet", "shop"),
        ("run", "shop.orders"),
        ("run", "shop.orders", "-q", "orders", "-n", "-1"),
        ("run", "shop.orders", "-q", "orders", "--profile", "p", "--address", "a:1"),
        ("init", "--embedded", "--address", "a:1"),
        ("init", "-q", ""),
        ("init", "--program", ""),
        ("init", "--pool", ""),
        ("check", "--schema", "--show"),
        ("completion", "tcsh"),
        ("nonsense",),
        ("status", "--nonsense"),
    ],
    ids=" ".join,
)
def test_misuse_exits_2(command: Command, words: tuple[str, ...]) -> None:
    misused = command(*words)
    assert (misused.status, misused.out) == (2, ""), misused
    assert "Traceback" not in misused.err


def test_help_names_every_command(command: Command) -> None:
    shown = command("--help")
    assert shown.status == 0
    for name in COMMANDS:
        assert f"\n  {name} " in shown.out


def test_the_version(command: Command) -> None:
    assert command("--version").out.startswith("temporal-fleet ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(command: Command, shell: str) -> None:
    printed = command("completion", shell)
    assert printed.status == 0, printed
    assert f"_TEMPORAL_FLEET_COMPLETE={shell}_complete" in printed.out


def test_completion_is_silent_without_a_fleet(command: Command) -> None:
    offered = command(
        _TEMPORAL_FLEET_COMPLETE="bash_complete", COMP_WORDS="temporal-fleet dump or", COMP_CWORD="2"
    )
    assert (offered.out.strip(), offered.err) == ("", ""), offered


def test_a_reader_that_goes_away_gets_no_traceback(command: Command) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        printed = subprocess.run(
            [*ARGV, "check", "--schema"],
            env=dict(command.environ),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (printed.returncode, printed.stderr) == (1, b"")


@pytest.mark.parametrize("words", [("check", "--schema"), ("--help",)], ids=" ".join)
def test_output_that_cannot_be_written_is_told(command: Command, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        printed = subprocess.run(
            [*ARGV, *words],
            env=dict(command.environ),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    said = b"Error: the output cannot be written: No space left on device\n  write it to another place\n"
    assert (printed.returncode, printed.stderr) == (1, said)


def test_a_folder_that_was_removed_under_the_command(command: Command, folder: Path) -> None:
    gone = folder / "gone"
    gone.mkdir()
    told = subprocess.run(
        ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', gone, *ARGV, "init", "-y"],
        env=dict(command.environ),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (told.returncode, b"Traceback" in told.stderr) == (1, False), told
    assert b"the working directory was removed" in told.stderr


def test_top_without_a_terminal_names_what_does_without_one(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text("")
    refused = command("top", "-c", "fleet.toml")
    assert (refused.status, refused.out) == (1, ""), refused
    assert "`top` needs a terminal" in refused.err
    assert "for a script: temporal-fleet status --json -c fleet.toml" in refused.err
