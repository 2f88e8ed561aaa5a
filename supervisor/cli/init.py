"""`init`: writes a commented config file to start from. What no option says is asked, where somebody can be
asked."""

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import click

from temporal_fleet.protocol.logfile import HELPERS
from temporal_fleet.supervisor.cli import configuration
from temporal_fleet.supervisor.cli.failure import Failure, Misuse, say
from temporal_fleet.supervisor.cli.place import DEFAULT_CONFIG
from temporal_fleet.supervisor.config.defaults import ADDRESS, NAMESPACE, name_from, service_of

PROGRAM = "shop.orders"
ENTITIES = 2
EMBEDDED = "embedded"
"""What is answered for a dev server, where a Cluster's address is asked for."""

T = TypeVar("T")


@dataclass(frozen=True)
class _Terminal:
    """Somebody who can be asked."""

    def ask(self, question: str, default: T, kind: "click.ParamType[T] | None" = None) -> T:
        answer: T = click.prompt(question, default=default, type=kind, err=True)
        return answer


class _Nobody:
    """Takes every default."""

    def ask(self, _question: str, default: T, _kind: "click.ParamType[T] | None" = None) -> T:
        return default


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--program", metavar="PROGRAM", help=f"A module, or module:attribute; default: {PROGRAM}.")
@click.option("-q", "--task-queue", metavar="QUEUE", help="The Task Queue to poll; default: the pool's name.")
@click.option(
    "-n",
    "--entities",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"How many; default: {ENTITIES}.",
)
@click.option("--pool", metavar="NAME", help="The pool's name; default: PROGRAM's.")
@click.option("--name", metavar="NAME", help="The fleet's name; default: the file's folder.")
@click.option("--embedded", is_flag=True, help="With a Temporal dev server that runs beside the fleet.")
@click.option("--address", metavar="HOST:PORT", help=f"Of the Cluster; default: {ADDRESS}.")
@click.option("--namespace", metavar="NAME", help=f"In the Cluster; default: {NAMESPACE}.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: what no option says is the default.")
@click.option("--force", is_flag=True, help="Overwrite a file that is there already.")
def init(
    *,
    file: Path | None,
    program: str | None,
    task_queue: str | None,
    entities: int | None,
    pool: str | None,
    name: str | None,
    embedded: bool,
    address: str | None,
    namespace: str | None,
    yes: bool,
    force: bool,
) -> None:
    """Write a commented config file to start from.

    FILE is fleet.toml when none is given. On a terminal it asks for what no option says; without one, or with
    --yes, it takes the defaults."""
    if embedded and address is not None:
        raise click.UsageError("--embedded and --address name different Clusters: give one of them")
    who = _Nobody() if yes or not _is_terminal() else _Terminal()
    file = file or who.ask("File to write", Path(DEFAULT_CONFIG), click.Path(path_type=Path))
    _must_be_possible(file, force=force)
    if program is None:
        program = who.ask("Program (module, or module:attribute)", PROGRAM)
    if pool is None:
        pool = name_from(program.partition(":")[0].rpartition(".")[2].lower())[:48]
        pool = f"{pool}-pool" if pool in HELPERS else pool
    if task_queue is None:
        task_queue = who.ask("Task Queue", pool)
    if entities is None:
        entities = who.ask("Entities (processes)", ENTITIES, click.IntRange(min=0))
    if not embedded and address is None:
        answer = who.ask(f"Cluster (host:port, or {EMBEDDED} for a dev server of its own)", ADDRESS)
        embedded, address = answer == EMBEDDED, None if answer in (EMBEDDED, ADDRESS) else answer
    if namespace is None:
        namespace = who.ask("Namespace", NAMESPACE)
    from temporal_fleet.supervisor.config import reader
    from temporal_fleet.supervisor.config.template import template

    text = template(
        program=program,
        task_queue=task_queue,
        entities=entities,
        embedded=embedded,
        address=address,
        namespace=None if namespace == NAMESPACE else namespace,
        name=name,
        pool=pool,
    )
    configuration.checked(f"{file} as it would be", lambda: reader.parse(text, file, os.environ), Misuse)
    _write(file, text, force=force)
    say(f"wrote {file}; look through it, then {_next(file)}")


def _is_terminal() -> bool:
    """Questions go to stderr, as all messages do."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _must_be_possible(file: Path, *, force: bool) -> None:
    """Before anything is asked in vain."""
    if not file.parent.is_dir():
        raise Failure(f"there is no folder {file.parent}", f"make it with: mkdir -p {file.parent}")
    if file.exists() and not force:
        raise Failure(f"{file} is there already", "overwrite it with --force, or name another file")


def _write(file: Path, text: str, *, force: bool) -> None:
    try:
        with file.open("w" if force else "x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        problem = f"cannot write {file}: {error.strerror}"
        raise Failure(problem, "name a file where you may write: temporal-fleet init FILE") from error


def _next(file: Path) -> str:
    option = "" if file == Path(DEFAULT_CONFIG) else f" -c {shlex.quote(str(file))}"
    if service_of(file) is not None:
        return f"make it a service with: temporal-fleet systemd install{option}"
    return f"start the fleet with: temporal-fleet up{option}"
