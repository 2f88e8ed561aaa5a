"""`init`: writes a commented config file to start from."""

import os
from pathlib import Path

import click

from temporal_fleet.supervisor.cli import configuration
from temporal_fleet.supervisor.cli.failure import Failure, Misuse, say
from temporal_fleet.supervisor.cli.place import DEFAULT_CONFIG
from temporal_fleet.supervisor.config.defaults import name_from


@click.command()
@click.argument("file", type=click.Path(path_type=Path), default=Path(DEFAULT_CONFIG))
@click.option(
    "--program",
    default="shop.orders",
    show_default=True,
    metavar="PROGRAM",
    help="A module, or module:attribute.",
)
@click.option("-q", "--task-queue", metavar="QUEUE", help="The Task Queue to poll; default: the pool's name.")
@click.option(
    "-n",
    "--entities",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    metavar="N",
    help="How many.",
)
@click.option("--pool", metavar="NAME", help="The pool's name; default: PROGRAM's.")
@click.option("--name", metavar="NAME", help="The fleet's name; default: the file's folder.")
@click.option("--embedded", is_flag=True, help="With a Temporal dev server that runs beside the fleet.")
@click.option("--address", metavar="HOST:PORT", help="Of the Cluster; default: localhost:7233.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there already.")
def init(
    *,
    file: Path,
    program: str,
    task_queue: str | None,
    entities: int,
    pool: str | None,
    name: str | None,
    embedded: bool,
    address: str | None,
    force: bool,
) -> None:
    """Write a commented config file to start from.

    FILE is fleet.toml when none is given."""
    if embedded and address is not None:
        raise click.UsageError("--embedded and --address name different Clusters: give one of them")
    if not file.parent.is_dir():
        raise Failure(f"there is no folder {file.parent}", f"make it with: mkdir -p {file.parent}")
    from temporal_fleet.supervisor.config import reader
    from temporal_fleet.supervisor.config.template import template

    pool = pool or name_from(program.partition(":")[0].rpartition(".")[2].lower())[:48]
    text = template(
        program=program,
        task_queue=task_queue or pool,
        entities=entities,
        embedded=embedded,
        address=address,
        name=name,
        pool=pool,
    )
    configuration.checked(f"{file} as it would be", lambda: reader.parse(text, file, os.environ), Misuse)
    _write(file, text, force=force)
    option = "" if file == Path(DEFAULT_CONFIG) else f" -c {file}"
    say(f"wrote {file}; look through it, then start the fleet with: temporal-fleet up{option}")


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except FileExistsError:
        raise Failure(f"{file} is there already", "overwrite it with --force, or name another file") from None
    except OSError as error:
        raise Failure(f"cannot write {file}: {error.strerror}") from error
