"""`systemd print` and `install`: what stands in the files. What systemd makes of them is in tests/systemd."""

import os
from pathlib import Path

import pytest

from temporal_fleet.supervisor.cli.unit_files import Service, as_root, own, service_of, shared
from temporal_fleet.supervisor.config.reader import Config, load
from tests.cli.command import Command

FILES = {
    "etc/systemd/system/temporal-fleet@.service",
    "etc/sysusers.d/temporal-fleet.conf",
    "etc/tmpfiles.d/temporal-fleet.conf",
}
POOL = '[pools.orders]\nprogram = "shop"\ntask_queue = "orders"\n'


def config_in(folder: Path, text: str) -> tuple[Service, Config]:
    file = folder / "fleet.toml"
    file.write_text(text)
    service = service_of(file)
    return service, load(file, service.environment)


def test_print_shows_what_is_written_where(command: Command) -> None:
    printed = command("systemd", "print", "--user", "worker")
    assert printed.status == 0, printed
    for file in FILES:
        assert f"\n# /{file}\n" in f"\n{printed.out}"
    unit, sysusers, tmpfiles = printed.out.split("\n# /etc/")
    assert "\nUser=worker\n" in unit
    assert "/bin/temporal-fleet up\n" in unit
    assert "/opt/temporal-fleet" not in unit
    assert '\nu worker - "' in sysusers
    assert " root worker -" in tmpfiles


def test_install_into_an_image_writes_the_files_and_runs_nothing(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text(POOL + 'drain = "90s"\n')
    image = folder / "image"
    installed = command("systemd", "install", "-c", "fleet.toml", "--root", "image")
    assert installed.status == 0, installed
    own_file = "etc/systemd/system/temporal-fleet@shop.service.d/fleet.conf"
    written = {str(path.relative_to(image)) for path in image.rglob("*") if path.is_file()}
    assert written == {*FILES, own_file}
    text = (image / own_file).read_text()
    assert "TimeoutStopSec=125\n" in text
    assert f"Environment=TEMPORAL_FLEET_CONFIG={folder}/fleet.toml\n" in text
    assert installed.err.endswith("next: systemctl enable --now temporal-fleet@shop\n")
    again = command("systemd", "install", "-c", "fleet.toml", "--root", "image")
    assert again.err.count("is up to date: ") == 4


def test_a_file_with_errors_installs_nothing(command: Command, folder: Path) -> None:
    (folder / "fleet.toml").write_text("[pools.orders]\n")
    refused = command("systemd", "install", "-c", "fleet.toml", "--root", "image")
    assert refused.status == 1, refused
    assert "pools.orders.program" in refused.err
    assert not (folder / "image").exists()


@pytest.mark.parametrize("name", ["a\nExecStart=x", "1000", ""])
def test_a_name_that_no_user_can_have(command: Command, name: str) -> None:
    refused = command("systemd", "print", "--user", name)
    assert (refused.status, refused.out) == (2, ""), refused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root comes so far")
def test_an_installation_that_others_may_write_to_is_refused(command: Command) -> None:
    # The test run's own, wherever it stands, but for the folders that root alone keeps.
    refused = command("systemd", "install")
    assert refused.status == 1, refused
    assert "a service could not run this installation: " in refused.err
    assert "python3 -m venv /opt/temporal-fleet" in refused.err


def test_words_that_a_unit_file_would_take_apart(tmp_path: Path) -> None:
    unit, *_ = shared(Path("/opt/50% off/bin/temporal-fleet"), "worker")
    assert 'ExecStart="/opt/50%% off/bin/temporal-fleet" up\n' in unit.text
    odd = tmp_path / "a b%"
    odd.mkdir()
    service, config = config_in(
        odd, f'[fleet]\nname = "x"\nstate_dir = "the state"\nlog_dir = "logs"\n{POOL}'
    )
    text = own(service, config).text
    escaped = str(odd).replace("%", "%%")
    assert f'Environment="TEMPORAL_FLEET_CONFIG={escaped}/fleet.toml"\n' in text
    assert f'ReadWritePaths="-{escaped}/the state"\n' in text
    assert f'ReadWritePaths="-{escaped}/logs"\n' in text


def test_credentials_and_folders_follow_from_the_file(tmp_path: Path) -> None:
    keys = tmp_path / "fleet.credentials"
    keys.mkdir()
    for name in ("key", "ca.pem"):
        (keys / name).write_text("x")
    (tmp_path / "elsewhere.pem").write_text("x")
    service, config = config_in(
        tmp_path,
        f"""{POOL}
[cluster]
address = "shop:1"
api_key_file = "${{CREDENTIALS_DIRECTORY}}/key"
[cluster.tls]
server_ca = "${{CREDENTIALS_DIRECTORY}}/ca.pem"
client_cert = "elsewhere.pem"
client_key = "elsewhere.pem"
""",
    )
    lines = [line for line in own(service, config).text.splitlines() if line.startswith("LoadCredential=")]
    assert lines == [f"LoadCredential=key:{keys}/key", f"LoadCredential=ca.pem:{keys}/ca.pem"]


def test_what_the_shared_unit_does_not_give_is_given_to_who_asks(tmp_path: Path) -> None:
    service, config = config_in(
        tmp_path,
        f"[fleet]\ngpus = [0, 1]\n{POOL}"
        'resources = { open_files = 100000, nice = -5, gpus = 1, user = "worker" }\n',
    )
    lines = own(service, config).text.splitlines()
    assert {"LimitNOFILE=100000", "LimitNICE=-5", "PrivateDevices=no", "User=root"} <= set(lines)
    assert as_root(config) == []
    _, modest = config_in(tmp_path, f"{POOL}resources = {{ open_files = 1000, nice = 5 }}\n")
    directives = [line for line in own(service, modest).text.splitlines() if "=" in line and line[0] != "#"]
    assert [line.partition("=")[0] for line in directives] == ["TimeoutStopSec", "Environment"]


def test_a_pool_that_would_run_as_root_beside_one_with_a_user_is_refused(
    command: Command, folder: Path
) -> None:
    (folder / "fleet.toml").write_text(
        f'{POOL}resources = {{ user = "worker" }}\n{POOL.replace("orders", "mail")}'
    )
    refused = command("systemd", "print", "-c", "fleet.toml")
    assert refused.status == 1, refused
    assert "pools.mail.resources.user: is missing, and it would run as root" in refused.err
