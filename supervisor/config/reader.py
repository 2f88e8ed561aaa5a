"""fleet.toml, or the options of `run`, to a frozen Config: every error at once, each with its place. The one
door to the configuration for the rest of the supervisor.

Which keys there are is in `settings.py`; editing, `init` and the values for the other processes have modules
of their own.
"""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from temporal_fleet.protocol.logfile import HELPERS
from temporal_fleet.supervisor.config.defaults import (
    Tree,
    credentials_directory,
    fill_in,
    home,
    name_from,
    service_of,
)
from temporal_fleet.supervisor.config.host import Host
from temporal_fleet.supervisor.config.places import Key, Places
from temporal_fleet.supervisor.config.problems import ConfigError, Problem, dotted, explain, shown
from temporal_fleet.supervisor.config.resources import resource_violations
from temporal_fleet.supervisor.config.rules import Violation, violations
from temporal_fleet.supervisor.config.settings import (
    Cluster,
    Config,
    Embedded,
    Fleet,
    FleetFile,
    Memory,
    Pool,
    Recycle,
    Resources,
    Restart,
    Rollout,
    Tls,
)
from temporal_fleet.supervisor.config.values import resolved
from temporal_fleet.supervisor.config.worker_options import WorkerOptions

__all__ = [
    "Cluster",
    "Config",
    "ConfigError",
    "Embedded",
    "Fleet",
    "Memory",
    "Pool",
    "Problem",
    "Recycle",
    "Resources",
    "Restart",
    "Rollout",
    "Tls",
    "WorkerOptions",
    "for_run",
    "load",
    "parse",
]

_SYNTAX_PLACE: Final = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_STAND_IN: Final = "stand_in"


def load(path: Path, environ: Mapping[str, str], host: Host | None = None) -> Config:
    """The config of a file, whose pools want no more than a host has; without one that is not asked.

    Raises ConfigError with every problem, also when the file cannot be read.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        remedy = "there is no such file; write one with `temporal-fleet init`, or name one with -c FILE"
        raise ConfigError([Problem(key="", file=path, remedy=remedy)]) from None
    except OSError as error:
        remedy = f"cannot be read: {error.strerror}"
        raise ConfigError([Problem(key="", file=path, remedy=remedy)]) from error
    except UnicodeDecodeError as error:
        remedy = f"must be UTF-8 text; byte {error.start} is not"
        raise ConfigError([Problem(key="", file=path, remedy=remedy)]) from error
    return parse(text, path, environ, host)


def parse(text: str, path: Path, environ: Mapping[str, str], host: Host | None = None) -> Config:
    """The config of the text of a file; `path` places its relative paths and its errors, `host` is as of
    `load`.

    Raises ConfigError with every problem.
    """
    try:
        tree = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([_syntax_problem(error, path, text)]) from error
    file = path.absolute()
    places = Places(text)

    def problem(key: Key, value: str | None, remedy: str) -> Problem:
        return Problem(key=dotted(key), value=value, remedy=remedy, file=path, line=places.line(key))

    checked = _checked(tree, file.parent, environ, host, file)
    if isinstance(checked, FleetFile):
        return _config(checked, file)
    problems = [problem(*complaint) for complaint in checked]
    raise ConfigError(sorted(problems, key=lambda each: each.line or 0))


def for_run(
    *,
    program: str,
    task_queue: str,
    entities: int = 1,
    embedded: bool = False,
    address: str | None = None,
    namespace: str | None = None,
    profile: str | None = None,
    name: str | None = None,
    environ: Mapping[str, str],
    cwd: Path,
) -> Config:
    """The config of `temporal-fleet run`, which has no file: one pool, named after the program's module.

    Raises ConfigError with every problem, each named by the command line option.
    """
    module = program.partition(":")[0]
    pool_name = re.sub(r"[^a-z0-9_-]+", "-", module.rpartition(".")[2].lower()).strip("-_")[:48] or "program"
    problems = []
    clusters = {"--embedded": embedded, "--profile": profile is not None, "--address": address is not None}
    given = [option for option, is_given in clusters.items() if is_given]
    if len(given) > 1:
        remedy = "name different Clusters: give one of them"
        problems.append(Problem(key=" and ".join(given), remedy=remedy))
    if pool_name in HELPERS:
        pool_name = f"{pool_name}-pool"
    cluster: Tree = {
        "address": address if given == ["--address"] else None,
        "namespace": namespace,
        "profile": profile if given == ["--profile"] else None,
    }
    tree: Tree = {
        "fleet": {"name": name if name is not None else name_from(module.replace(".", "-"))},
        "cluster": {key: value for key, value in cluster.items() if value is not None},
        "pools": {pool_name: {"program": program, "task_queue": task_queue, "entities": entities}},
    }
    if given == ["--embedded"]:
        # Nowhere could another port be said when the usual one is taken.
        tree["cluster"]["embedded"] = {"port": 0}
    options: dict[Key, str] = {
        ("fleet", "name"): "--name",
        ("cluster", "address"): "--address",
        ("cluster", "namespace"): "--namespace",
        ("cluster", "profile"): "--profile",
        ("cluster", "embedded"): "--embedded",
        ("pools", pool_name, "program"): "PROGRAM",
        ("pools", pool_name, "path"): "--path",
        ("pools", pool_name, "task_queue"): "-q",
        ("pools", pool_name, "entities"): "-n",
    }
    checked = _checked(tree, cwd.absolute(), environ)
    if isinstance(checked, FleetFile):
        if problems:
            raise ConfigError(problems)
        return _config(checked, None)
    for key, value, remedy in checked:
        problems.append(Problem(key=options.get(key, dotted(key)), value=value, remedy=remedy))
    raise ConfigError(problems)


def _config(file: FleetFile, path: Path | None) -> Config:
    return Config(fleet=file.fleet, cluster=file.cluster, pools=file.pools, path=path)


def _checked(
    tree: Tree,
    folder: Path,
    environ: Mapping[str, str],
    host: Host | None = None,
    path: Path | None = None,
) -> FleetFile | list[tuple[Key, str | None, str]]:
    """The models of a tree, or everything that is wrong with it: key, value, remedy."""
    service = service_of(path) if path is not None else None
    tree = fill_in(tree, folder, environ, service)
    context = {"folder": folder}
    if path is not None:
        context["credentials"] = credentials_directory(path, environ)
    user_home = home(environ)
    if user_home is not None:
        context["home"] = user_home
    state_dir = tree["fleet"].get("state_dir") if isinstance(tree["fleet"], dict) else None
    # One that is wrong is reported as such.
    if isinstance(state_dir, str):
        context["state"] = resolved(state_dir, context)
    try:
        file = FleetFile.model_validate(tree, context=context)
        complaints = []
        wrong: list[Key] = []
    except ValidationError as error:
        details = error.errors(include_url=False)
        complaints = [explain(detail, FleetFile) for detail in details]
        wrong = [key for key, _, _ in complaints]
        # Rules between the keys are checked on what is right, so that all is reported at once.
        for key in wrong:
            _put_right(tree, key)
        file = FleetFile.model_validate(fill_in(tree, folder, environ, service), context=context)
    for violation in (*violations(file), *resource_violations(file, host)):
        if not _says_nothing(violation, wrong):
            key = violation.keys[0]
            complaints.append((key, _value(tree, key), violation.remedy))
    return complaints or file


def _put_right(tree: Tree, key: Key) -> None:
    """Take out what is wrong at a key; what is required gets a stand-in."""
    table: Any = tree
    for part in key[:-1]:
        table = table.get(part) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        # An element of a list: the whole list goes.
        _put_right(tree, key[:-1])
        return
    table.pop(key[-1], None)
    if key[0] == "pools" and len(key) == 2:
        table.setdefault(_STAND_IN, {"program": _STAND_IN, "task_queue": _STAND_IN})
    elif key[0] == "pools" and len(key) == 3 and key[2] in {"program", "task_queue"}:
        table[key[2]] = _STAND_IN


def _says_nothing(violation: Violation, wrong: list[Key]) -> bool:
    return any(key[: len(bad)] == bad for key in violation.keys for bad in wrong)


def _value(tree: Tree, key: Key) -> str | None:
    value: Any = tree
    for part in key:
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return None if isinstance(value, dict) else shown(key, value)


def _syntax_problem(error: Exception, path: Path, text: str) -> Problem:
    """Where and why a text is no TOML."""
    if isinstance(error, RecursionError):
        return Problem(key="", file=path, remedy="is not a config: its tables are nested too deeply")
    if text.startswith("\ufeff"):
        remedy = "begins with a byte order mark: save it as UTF-8 without one"
        return Problem(key="", file=path, line=1, column=1, remedy=remedy)
    message = str(error)
    place = _SYNTAX_PLACE.search(message)
    reason = message[: place.start()] if place else message
    line, column = text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1
    if place and place[1]:
        line, column = int(place[1]), int(place[2])
    return Problem(
        key="",
        file=path,
        line=line if place else None,
        column=column if place else None,
        remedy=f"not valid TOML: {reason[:1].lower()}{reason[1:]}",
    )
