"""`systemd`: makes fleets services of systemd, and, for such a service, ends what a stop has left. What
stands in the files is in unit_files."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from temporal_fleet.supervisor.cli import configuration
from temporal_fleet.supervisor.cli.failure import Problems, say
from temporal_fleet.supervisor.cli.place import CONFIG_VARIABLE

if TYPE_CHECKING:
    from temporal_fleet.supervisor.cli.unit_files import Service, UnitFile
    from temporal_fleet.supervisor.config.reader import Config

_config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    envvar=CONFIG_VARIABLE,
    show_envvar=True,
    metavar="FILE",
    help="The config file of a fleet; without it only what all fleets share.",
)
_user_option = click.option(
    "--user",
    metavar="NAME",
    help="The user that fleets run as; default: that of the installed unit, else temporal-fleet.",
)


@click.group()
def systemd() -> None:
    """Run fleets as services of systemd."""


@systemd.command("print")
@_config_option
@_user_option
def print_files(config: Path | None, user: str | None) -> None:
    """Print the unit, sysusers and tmpfiles files."""
    click.echo("\n".join(f"# {file.path}\n{file.text}" for file in _files(config, user)), nl=False)


@systemd.command()
@_config_option
@_user_option
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write below this folder, into an image, and run nothing.",
)
def install(config: Path | None, user: str | None, root: Path | None) -> None:
    """Write those files, and make systemd know them.

    Again after an update, and with -c FILE whenever the drains or credentials in that file changed."""
    from temporal_fleet.supervisor.cli import unit_files, unit_install

    if root is None:
        unit_install.must_be_possible()
    for file in _files(config, user):
        unit_install.write(file, root or Path("/"))
    if root is None:
        unit_install.tell_system()
        if config is not None:
            unit_install.must_be_readable(config.absolute(), _folders(config), _user(user))
    else:
        say("when the image boots, systemd-sysusers and systemd-tmpfiles do their part")
    if config is None:
        say(
            "next: write /etc/temporal-fleet/NAME.toml, then:\n"
            "  temporal-fleet systemd install -c /etc/temporal-fleet/NAME.toml"
        )
    else:
        unit = unit_files.service_of(config).unit.removesuffix(".service")
        say(f"next: systemctl enable --now {unit}")


@systemd.command("stop-post", hidden=True)
@click.argument("unit")
def stop_post(unit: str) -> None:
    """End what a stopped service has left; run by its unit."""
    from temporal_fleet.supervisor.cli import leftovers

    leftovers.end(unit, os.environ)


def _files(config: Path | None, user: str | None) -> list["UnitFile"]:
    from temporal_fleet.supervisor.cli import unit_files, unit_install

    files = unit_files.shared(unit_install.command(), _user(user))
    if config is not None:
        service, loaded = _loaded(config)
        if problems := unit_files.as_root(loaded):
            raise Problems("pools that run as users of their own take a service of root's", problems)
        files.append(unit_files.own(service, loaded))
    return files


def _user(given: str | None) -> str:
    from temporal_fleet.supervisor.cli import unit_files, unit_install

    user = given if given is not None else unit_install.installed_user() or unit_files.USER
    if not unit_files.is_user(user):
        raise click.UsageError(f"{user!r} cannot be the name of a user, as temporal-fleet can")
    return user


def _loaded(config: Path) -> tuple["Service", "Config"]:
    from temporal_fleet.supervisor.cli import unit_files
    from temporal_fleet.supervisor.config import reader

    service = unit_files.service_of(config)
    # What this process may do is not what the service may, whose limits follow from the file.
    read = partial(reader.load, service.config, service.environment)
    return service, configuration.checked(str(config), read)


def _folders(config: Path) -> list[Path]:
    """Of its programs."""
    _, loaded = _loaded(config)
    return [pool.path for pool in loaded.pools.values()]
