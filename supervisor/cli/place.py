"""Where the operator's fleet is: from `-c FILE` or `--fleet NAME` to a run directory, and back to words that
name it again. Finds; does not talk to it.

A config file with errors in it must not keep anyone from looking at the fleet, or stopping it: only what
tells the run directory is read here.
"""

import functools
import os
import shlex
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.cli.completion import fleet_names
from temporal_fleet.supervisor.cli.failure import Failure
from temporal_fleet.supervisor.cli.presence import Listening, look
from temporal_fleet.supervisor.config import defaults

DEFAULT_CONFIG = "fleet.toml"
CONFIG_VARIABLE = "TEMPORAL_FLEET_CONFIG"

T = TypeVar("T")

config_option = click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path),
    default=Path(DEFAULT_CONFIG),
    show_default=True,
    envvar=CONFIG_VARIABLE,
    show_envvar=True,
    metavar="FILE",
    help="The config file.",
)


fleet_option = click.option(
    "--fleet",
    metavar="NAME",
    shell_complete=fleet_names,
    help="A fleet by its name, such as one that `run` has started.",
)


@dataclass(frozen=True)
class Place:
    """One fleet's place on this host."""

    name: str
    run: RunDirectory
    config: Path | None
    """The file it was found by; None when it was found by its name."""
    words: str
    """The options that name it: ` -c shop.toml`, ` --fleet shop`, or nothing when it goes without saying."""

    @property
    def service(self) -> str | None:
        """The unit of systemd that runs it, by where its file, or its run directory, stands."""
        if self.config is not None:
            name = defaults.service_of(self.config)
        else:
            name = self.name if self.run.path == defaults.run_directory_of(self.name) else None
        return None if name is None else f"temporal-fleet@{name}"

    @property
    def start(self) -> str | None:
        """What starts it, to be copied; None: nobody knows its program."""
        if self.service is not None:
            return f"systemctl start {self.service}"
        return None if self.config is None else f"temporal-fleet up -c {shlex.quote(str(self.config))}"

    def command(self, rest: str) -> str:
        """A command line about this fleet, to be copied."""
        return f"temporal-fleet {rest}{self.words}"


def fleet_options(command: Callable[..., T]) -> Callable[..., T]:
    """`-c FILE` and `--fleet NAME`, handed to the command as its first argument, a Place."""

    def with_place(*_: object, config: Path, fleet: str | None, **rest: Any) -> T:  # noqa: ARG001
        return command(locate(click.get_current_context()), **rest)

    return config_option(fleet_option(functools.update_wrapper(with_place, command)))


def locate(ctx: click.Context) -> Place:
    """The place that a command's options name. Raises Failure when they name none."""
    fleet: str | None = ctx.params.get("fleet")
    config: Path = ctx.params.get("config") or Path(DEFAULT_CONFIG)
    config_is_given = ctx.get_parameter_source("config") is ParameterSource.COMMANDLINE
    if fleet is None:
        return _by_file(config, f" -c {shlex.quote(str(config))}" if config_is_given else "")
    if config_is_given:
        raise click.UsageError("-c and --fleet both name a fleet: give one of them", ctx)
    return by_name(fleet)


def by_name(name: str) -> Place:
    if name != defaults.name_from(name):
        raise click.UsageError(f"{name!r} cannot be the name of a fleet")
    own, of_service = defaults.run_directory(name, os.environ), defaults.run_directory_of(name)
    run = RunDirectory(of_service if of_service.exists() and not own.exists() else own)
    return Place(name=name, run=run, config=None, words=f" --fleet {name}")


def _by_file(path: Path, words: str) -> Place:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"there is no config file {path}", *_without_a_file()) from None
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", *_without_a_file()) from error
    except (ValueError, RecursionError) as error:
        raise Failure(
            f"{path} is no TOML, so it does not tell where its fleet is: {error}", *_without_a_file()
        ) from error
    given = tree.get("fleet")
    table = {"fleet": given if isinstance(given, dict) else {}}
    fleet = defaults.fill_in(table, _folder(path), os.environ, defaults.service_of(path))
    name, run_dir = (str(fleet["fleet"][key]) for key in ("name", "run_dir"))
    run_dir = str(Path(run_dir).expanduser()) if run_dir.startswith("~/") else run_dir
    if "\0" in run_dir:
        raise Failure(f"{path}: fleet.run_dir cannot be a path", "see: temporal-fleet check")
    return Place(name=name, run=RunDirectory(_folder(path) / run_dir), config=path, words=words)


def _folder(path: Path) -> Path:
    return path.absolute().parent


def _without_a_file() -> tuple[str, ...]:
    """What to do when no config file tells where the fleet is."""
    return (
        *named_otherwise(),
        "name the file with -c FILE, or write one with: temporal-fleet init",
    )


def named_otherwise() -> tuple[str, ...]:
    """The fleets that run and have a name to be meant by: one of them may be meant."""
    return tuple(f"a fleet {name} runs; it is meant with: --fleet {name}" for name in running())


def running() -> list[str]:
    """The names of the fleets in the default places that run."""
    if os.environ.get("RUNTIME_DIRECTORY"):
        return []
    places = (defaults.run_directory("any", os.environ).parent, defaults.run_directory_of("any").parent)
    names = {path.name for place in places for path in _entries(place)}
    possible = [name for name in sorted(names) if defaults.name_from(name) == name]
    return [name for name in possible if isinstance(look(by_name(name).run), Listening)]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []
