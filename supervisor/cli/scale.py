"""`scale`: other sizes for pools, in the config file where there is one, in the running fleet alone where
there is none.

The file is the operator's: it is checked whole before it is written, and given back as it was when the
fleet refuses it.
"""

import os
from pathlib import Path

import click

from temporal_fleet.protocol.control import Reload, Scale
from temporal_fleet.supervisor.cli import configuration, plan
from temporal_fleet.supervisor.cli.change import carry_out, no_wait_option
from temporal_fleet.supervisor.cli.client import ChangeFailed, Refused, Supervisor, new_id
from temporal_fleet.supervisor.cli.completion import pool_sizes
from temporal_fleet.supervisor.cli.configfile import ConfigFile
from temporal_fleet.supervisor.cli.failure import Failure, must_exist, say
from temporal_fleet.supervisor.cli.place import Place, fleet_options


def _sizes(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, int]:
    """`orders=6` -> {"orders": 6}."""
    pools: dict[str, int] = {}
    for word in words:
        name, sign, number = word.partition("=")
        if not (name and sign and number.isascii() and number.isdigit()):
            raise click.BadParameter(f"{word!r} is not POOL=N, such as orders=6")
        if name in pools:
            raise click.BadParameter(f"{name} is named twice")
        pools[name] = int(number)
    return pools


@click.command()
@click.argument(
    "pools", metavar="POOL=N...", nargs=-1, required=True, callback=_sizes, shell_complete=pool_sizes
)
@fleet_options
@no_wait_option
def scale(place: Place, pools: dict[str, int], no_wait: bool) -> None:
    """Change how many entities pools have.

    Edits the config file, keeping its comments, then reloads; the file is given back as it was when the
    fleet refuses that, or takes it back while this waits (not with --no-wait, nor after Ctrl-C). A fleet
    that `run` has started has no file: there the change lasts as long as the fleet. Of entities that are
    too many those go that have the least in their hands."""
    _must_be_possible(pools)
    with Supervisor(place) as supervisor:
        report = supervisor.status()
        if report.fleet.config is None:
            must_exist("pool", pools, [pool.name for pool in report.pools])
            say(f"{place.name} runs without a config file: nothing of this is kept on disk")
            carry_out(supervisor, Scale(id=new_id(), pools=pools, wait=not no_wait))
        else:
            _scale_file(supervisor, pools, _file_of(place, Path(report.fleet.config)), wait=not no_wait)


def _scale_file(supervisor: Supervisor, pools: dict[str, int], path: Path, *, wait: bool) -> None:
    file = ConfigFile(path)
    before = file.text
    after = _edited(file, pools)
    pending = plan.steps_of(supervisor)
    if not plan.is_idle(pending):
        say(f"{path} has other changes that the fleet has not followed yet; this reload applies them too:")
        for step in pending:
            say(plan.line(step))
    file.replace(after)
    try:
        carry_out(supervisor, Reload(id=new_id(), wait=wait))
    except Refused as refused:
        said = _given_back(file, before)
        raise Refused(refused.message, refused.problems, said, *refused.remedies) from refused
    except ChangeFailed as failed:
        # Where a newer change took its place, the file is that one's by now.
        if failed.restored:
            failed.remedies = (_given_back(file, before), *failed.remedies)
        raise


def _given_back(file: ConfigFile, text: str) -> str:
    """Writes what stood there before we did; what became of it, in words."""
    try:
        file.replace(text)
    except Failure as edited:
        return f"the new sizes still stand in the file: {edited.message}"
    return f"{file.shown} is as it was before"


def _edited(file: ConfigFile, pools: dict[str, int]) -> str:
    """The text of the file with other sizes. Raises Problems when it does not hold, before or after."""
    from temporal_fleet.supervisor.config import reader
    from temporal_fleet.supervisor.config.edit import set_entities

    now = configuration.checked(str(file.shown), lambda: reader.parse(file.text, file.shown, os.environ))
    must_exist("pool", pools, now.pools)
    text = configuration.checked(str(file.shown), lambda: set_entities(file.text, pools))
    configuration.checked(f"{file.shown} as it would be", lambda: reader.parse(text, file.shown, os.environ))
    return text


def _file_of(place: Place, running: Path) -> Path:
    """The file to edit: that of the running fleet, as the operator named it."""
    if place.config is None:
        return running
    if place.config.resolve() != running.resolve():
        raise Failure(
            f"the fleet in {place.run.path} was started from {running}, not from {place.config}",
            f"name that file: temporal-fleet scale -c {running}",
        )
    return place.config


def _must_be_possible(pools: dict[str, int]) -> None:
    """What a file is held to: a size that no file may have is a slip of the keyboard."""
    from temporal_fleet.supervisor.config.settings import MAX_ENTITIES

    for name, size in pools.items():
        if size > MAX_ENTITIES:
            raise click.UsageError(f"{name}={size}: a pool has at most {MAX_ENTITIES} entities")
