"""`dump`: the Python stacks of every thread of one entity, also when its event loop hangs."""

import time
from pathlib import Path

import click

from temporal_fleet.protocol.control import DumpStacks, StacksReply
from temporal_fleet.supervisor.cli.client import Supervisor, new_id
from temporal_fleet.supervisor.cli.completion import entity_names
from temporal_fleet.supervisor.cli.failure import Failure, must_exist, say
from temporal_fleet.supervisor.cli.place import Place, fleet_options
from temporal_fleet.supervisor.cli.presence import process_state

_FIRST_WITHIN = 5.0
_QUIET_FOR = 0.2
"""The writer says nowhere that it has written all: a handler that writes at full speed and pauses so long
has ended."""
_LOOK_EVERY = 0.02


@click.command()
@click.argument("entity", shell_complete=entity_names)
@fleet_options
def dump(place: Place, entity: str) -> None:
    """Print the Python stacks of an entity.

    Of every thread, also when its event loop hangs. ENTITY is an id such as orders-1."""
    with Supervisor(place) as supervisor:
        must_exist("entity", [entity], [each.id for each in supervisor.status().entities])
        reply = supervisor.ask(DumpStacks(id=new_id(), entity=entity), StacksReply)
    stacks = _read(Path(reply.path), reply.offset)
    if not stacks:
        raise _nothing_came(entity, reply.pid)
    say(f"{entity}, PID {reply.pid}, from {reply.path}")
    click.echo(stacks.decode("utf-8", "replace"), nl=not stacks.endswith(b"\n"))


def _read(path: Path, offset: int) -> bytes:
    """What was appended to a file, once it stopped growing; empty when nothing came in time."""
    until = time.monotonic() + _FIRST_WITHIN
    found = b""
    while time.monotonic() < until:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                now = file.read()
        except FileNotFoundError:
            now = b""
        if len(now) > len(found):
            found = now
            until = time.monotonic() + _QUIET_FOR
        time.sleep(_LOOK_EVERY)
    return found


def _nothing_came(entity: str, pid: int) -> Failure:
    state = process_state(pid)
    said = f"{entity} (PID {pid}) wrote no stacks within {_FIRST_WITHIN:.0f} s"
    if state is None:
        return Failure(f"{said}: its process is gone", "ask again for its next life")
    if "(state T)" in state:
        return Failure(f"{said}: it is {state}", f"let it go on with: kill -CONT {pid}")
    return Failure(
        f"{said}: it is {state}",
        "its native code holds the interpreter, or the machine is too busy: try again",
    )
