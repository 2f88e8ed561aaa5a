"""`drain`, `resume`: a pool without entities for as long as an operator wants it so, and back."""

import click

from temporal_fleet.protocol.control import DrainPool, ResumePool
from temporal_fleet.supervisor.cli.change import carry_out, no_wait_option
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.completion import pools
from temporal_fleet.supervisor.cli.failure import must_exist
from temporal_fleet.supervisor.cli.place import Place, fleet_options

_pool_argument = click.argument("pool", shell_complete=pools)


@click.command()
@_pool_argument
@fleet_options
@no_wait_option
def drain(place: Place, pool: str, no_wait: bool) -> None:
    """Drain a pool, and keep it at zero.

    Neither a reload nor `scale` brings it back: `resume` does, and so does a new start of the fleet."""
    with Supervisor(place) as supervisor:
        _must_be_a_pool(supervisor, pool)
        carry_out(supervisor, DrainPool(id=new_id(), pool=pool, wait=not no_wait))


@click.command()
@_pool_argument
@fleet_options
@no_wait_option
def resume(place: Place, pool: str, no_wait: bool) -> None:
    """Give a drained pool its entities back."""
    with Supervisor(place) as supervisor:
        _must_be_a_pool(supervisor, pool)
        carry_out(supervisor, ResumePool(id=new_id(), pool=pool, wait=not no_wait))


def _must_be_a_pool(supervisor: Supervisor, name: str) -> None:
    must_exist("pool", [name], [pool.name for pool in supervisor.status().pools])
