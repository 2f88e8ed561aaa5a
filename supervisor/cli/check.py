"""`check`: whether a config file holds, what it amounts to, and what may stand in one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from temporal_fleet.supervisor.cli import configuration
from temporal_fleet.supervisor.cli.failure import Problems, say
from temporal_fleet.supervisor.cli.human import count
from temporal_fleet.supervisor.cli.place import config_option

if TYPE_CHECKING:
    from temporal_fleet.supervisor.config.reader import Config


@click.command()
@config_option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the config file, and read none.")
@click.option("--show", is_flag=True, help="Print the config with every default filled in.")
def check(config: Path, schema: bool, show: bool) -> None:
    """Report every error in the config file, and what of it its systemd service does not allow for."""
    if schema and show:
        raise click.UsageError("--schema and --show print different things: give one of them")
    if schema:
        from temporal_fleet.supervisor.config.schema import schema as schema_of_file

        click.echo(json.dumps(schema_of_file(), indent=2))
        return
    checked = configuration.load(config)
    if show:
        from temporal_fleet.supervisor.config.show import show as as_toml

        click.echo(as_toml(checked), nl=False)
        return
    from temporal_fleet.supervisor.cli.unit_files import seconds_to_stop

    _check_service(config, checked)
    entities = sum(pool.entities for pool in checked.pools.values())
    say(
        f"{config}: no errors; fleet {checked.fleet.name}, {count(len(checked.pools), 'pool')}, "
        f"{count(entities, 'entity', 'entities')}; a stop may take {seconds_to_stop(checked)} s; "
        "programs are imported by `up` and `reload`, not here"
    )


def _check_service(path: Path, config: "Config") -> None:
    from temporal_fleet.supervisor.cli import unit_files, unit_state

    service = unit_files.service_of(path)
    if unit_state.is_run_by(service) and (problems := unit_state.shortcomings(service, config)):
        raise Problems(
            f"{path} holds, but its service {service.unit} does not suit it",
            problems,
            f"make it anew: temporal-fleet systemd install -c {path}",
        )
