"""Defaults: those of the design, and those that depend on the surroundings."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.defaults import fill_in, name_from, service_of
from temporal_fleet.supervisor.config.reader import Memory, Recycle, load, parse
from tests.config.files import POOL, problems, read


def test_the_defaults_of_a_file_that_says_only_what_it_must() -> None:
    config = read(POOL)
    assert (config.fleet.name, config.fleet.log_format, config.fleet.orphan) == ("usr", "auto", 30)
    assert (config.cluster.address, config.cluster.namespace) == ("localhost:7233", "default")
    assert (config.cluster.profile, config.cluster.tls, config.cluster.embedded) == (None, None, None)
    assert config.path == Path("/usr/fleet.toml")
    pool = config.pools["orders"]
    assert (pool.path, pool.entities, pool.workers, pool.env, pool.after_fork) == (
        Path("/usr"),
        1,
        None,
        {},
        None,
    )
    assert pool.worker.given() == {}
    assert (pool.drain, pool.hang, pool.boot) == (30, 10, 60)
    assert (pool.memory, pool.recycle, pool.poison_after) == (Memory(), Recycle(), 3)
    assert pool.memory.model_dump() == dict.fromkeys(("evict_above", "recycle_above", "kill_above"))
    assert pool.recycle.model_dump() == dict.fromkeys(("max_age", "max_tasks"))
    assert (config.fleet.memory_budget, config.cluster.rebuild_task_tokens) == (None, True)
    restart = pool.restart
    assert (restart.policy, restart.backoff, restart.backoff_max) == ("always", 0.1, 30)
    assert (restart.max_restarts, restart.within) == (10, 60)
    assert (pool.rollout.max_surge, pool.rollout.max_unavailable) == (1, 0)


@pytest.mark.parametrize(
    ("environ", "run_dir", "state_dir"),
    [
        (
            {"RUNTIME_DIRECTORY": "/run/shop:/run/other", "STATE_DIRECTORY": "/var/lib/shop"},
            "/run/shop",
            "/var/lib/shop",
        ),
        (
            {"XDG_RUNTIME_DIR": "/usr", "XDG_STATE_HOME": "/home/x/state", "HOME": "/home/y"},
            "/usr/temporal-fleet/shop",
            "/home/x/state/temporal-fleet/shop",
        ),
        (
            {"XDG_RUNTIME_DIR": "/no/such/folder", "HOME": "/home/y"},
            f"/tmp/temporal-fleet-{os.getuid()}/shop",
            "/home/y/.local/state/temporal-fleet/shop",
        ),
    ],
)
def test_where_the_fleets_folders_are(environ: dict[str, str], run_dir: str, state_dir: str) -> None:
    fleet = read(f'[fleet]\nname = "shop"\n{POOL}', environ=environ).fleet
    assert (str(fleet.run_dir), str(fleet.state_dir)) == (run_dir, state_dir)
    given = read(f'[fleet]\nrun_dir = "r"\nstate_dir = "/s"\n{POOL}', environ=environ).fleet
    assert (str(given.run_dir), str(given.state_dir)) == ("/usr/r", "/s")


def test_a_user_without_a_home_has_folders_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    fleet = read(POOL, environ={}).fleet
    assert str(fleet.state_dir) == f"/tmp/temporal-fleet-{os.getuid()}/state/usr"


def test_paths_are_relative_to_the_file_wherever_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my shop" / "src").mkdir(parents=True)
    (tmp_path / "my shop" / "fleet.toml").write_text(f'{POOL}path = "src"\n')
    monkeypatch.chdir(tmp_path)
    config = load(Path("my shop/fleet.toml"), {"HOME": "/home/y"})
    assert config.path == tmp_path / "my shop" / "fleet.toml"
    assert config.pools["orders"].path == tmp_path / "my shop" / "src"
    assert config.fleet.name == "my-shop"


def test_a_tilde_is_the_users_home(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    config = read(f'{POOL}path = "~/src"\n', environ={"HOME": str(tmp_path)})
    assert config.pools["orders"].path == tmp_path / "src"


@given(st.text(max_size=80) | st.text("aA0-_. ", max_size=70))
def test_any_folders_name_gives_a_name_for_a_fleet_and_a_right_one_stays(text: str) -> None:
    name = name_from(text)
    assert not problems(f'[fleet]\nname = "{name}"\n{POOL}')
    assert name_from(name) == name
    if text.isascii() and text.replace(" ", "x").isprintable() and text:
        right = not problems(f'[fleet]\nname = "{text}"\n{POOL}') if '"' not in text + "\\" else False
        assert not right or name == text


SERVICE = Path("/etc/temporal-fleet/shop.toml")


@pytest.mark.parametrize(
    ("state_dir", "database", "there"),
    [
        ("/var/shop", "dev.db", "/var/shop/dev.db"),
        ("state", "dev.db", "/usr/state/dev.db"),
        ("~/usr", "dev.db", "/usr/dev.db"),
        ("/var/shop", "/usr/dev.db", "/usr/dev.db"),
        ("/var/shop", "~/dev.db", "/dev.db"),
    ],
)
def test_the_embedded_database_is_in_the_state_directory(state_dir: str, database: str, there: str) -> None:
    text = f'[fleet]\nstate_dir = "{state_dir}"\n[cluster.embedded]\ndatabase = "{database}"\n{POOL}'
    embedded = read(text, environ={"HOME": "/"}).cluster.embedded
    assert embedded is not None
    assert str(embedded.database) == there


def test_a_file_of_a_service_names_its_fleet_and_its_folders() -> None:
    fleet = parse('[pools.orders]\nprogram = "a"\ntask_queue = "q"\npath = "/usr"\n', SERVICE, {}).fleet
    assert fleet.name == "shop"
    assert (fleet.run_dir, fleet.state_dir) == (
        Path("/run/temporal-fleet/shop"),
        Path("/var/lib/temporal-fleet/shop"),
    )


def test_what_systemd_says_comes_before_where_the_file_stands() -> None:
    given = {"RUNTIME_DIRECTORY": "/run/a", "STATE_DIRECTORY": "/var/a"}
    fleet = fill_in({}, SERVICE.parent, given, service_of(SERVICE))["fleet"]
    assert fleet == {"name": "shop", "run_dir": "/run/a", "state_dir": "/var/a"}


@pytest.mark.parametrize(
    ("file", "service"),
    [
        (SERVICE, "shop"),
        (Path("/etc/temporal-fleet/a b.toml"), None),
        (Path("/etc/temporal-fleet/shop/fleet.toml"), None),
        (Path("/srv/shop.toml"), None),
    ],
)
def test_which_files_are_those_of_services(file: Path, service: str | None) -> None:
    assert service_of(file) == service


@pytest.mark.parametrize("is_set", [True, False])
def test_credentials_are_where_systemd_put_them_or_takes_them_from(tmp_path: Path, is_set: bool) -> None:
    folder = tmp_path / ("given" if is_set else "fleet.credentials")
    folder.mkdir()
    (folder / "api-key").write_text("secret")
    text = (
        '[cluster]\naddress = "shop:1"\napi_key_file = "${CREDENTIALS_DIRECTORY}/api-key"\n'
        '[pools.orders]\nprogram = "a"\ntask_queue = "q"\n'
    )
    environ = {"CREDENTIALS_DIRECTORY": str(folder)} if is_set else {}
    config = parse(text, tmp_path / "fleet.toml", environ)
    assert config.cluster.api_key_file == folder / "api-key"
