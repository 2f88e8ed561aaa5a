"""`demo`: hands over to the demo program, which is a client of this command like any other."""

import os
import sys

import click

from temporal_fleet.supervisor.cli.failure import Failure


@click.command()
@click.option("--stay", is_flag=True, help="Leave the fleet running, and print the address of the web UI.")
@click.option("--orders", type=click.IntRange(min=1), metavar="N", help="How many orders to place.")
def demo(stay: bool, orders: int | None) -> None:
    """Run a small shop on an embedded Cluster.

    Places orders and pays them, kills an entity, scales a pool, and sums up what happened."""
    arguments = [sys.executable, "-m", "temporal_fleet.demo"]
    if stay:
        arguments.append("--stay")
    if orders is not None:
        arguments += ["--orders", str(orders)]
    sys.stdout.flush()
    try:
        os.execv(sys.executable, arguments)
    except OSError as error:
        problem = f"cannot start {sys.executable}: {error.strerror}"
        raise Failure(problem, "install temporal-fleet again: its environment has changed") from error
