"""What the keys of fleet.toml mean beside each other and beside the files they name: the rules that no
single value can break. Single values do not belong here (`values.py`, `settings.py`)."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from temporal_fleet.protocol.errors import ProtocolMisuse
from temporal_fleet.protocol.logfile import HELPERS
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.config.places import Key
from temporal_fleet.supervisor.config.settings import Cluster, FleetFile, Memory, Pool
from temporal_fleet.supervisor.config.units import format_duration, format_size
from temporal_fleet.supervisor.config.worker_options import contradictions


@dataclass(frozen=True)
class Violation:
    """A broken rule, reported at the first key, and not at all when a key is already wrong by itself."""

    keys: tuple[Key, ...]
    remedy: str


def violations(config: FleetFile) -> Iterator[Violation]:
    """Every rule that a config breaks whose single values are all right."""
    yield from _fleet_rules(config)
    yield from _cluster_rules(config.cluster, config.fleet.state_dir)
    if not config.pools:
        yield Violation(
            (("pools",),),
            "there are no pools: add a table [pools.NAME] with `program` and `task_queue`",
        )
    for name, pool in config.pools.items():
        yield from _name_rules(name, config.pools)
        yield from _pool_rules(("pools", name), pool)
        yield from _memory_rules(("pools", name, "memory"), pool.memory, config.fleet.memory_budget)


def _fleet_rules(config: FleetFile) -> Iterator[Violation]:
    fleet = config.fleet
    try:
        run = RunDirectory(fleet.run_dir)
    except ProtocolMisuse as misuse:
        yield Violation((("fleet", "run_dir"), ("fleet", "name")), str(misuse))
    else:
        yield from _run_dir_rules(run)
    yield from _folder_rules(("fleet", "state_dir"), fleet.state_dir)
    if fleet.log_dir is not None:
        yield from _folder_rules(("fleet", "log_dir"), fleet.log_dir, writable=True)


def _run_dir_rules(run: RunDirectory) -> Iterator[Violation]:
    key: Key = ("fleet", "run_dir")
    yield from _folder_rules(key, run.path)
    # That of another user tells nothing, and need not.
    with contextlib.suppress(OSError):
        if run.is_another_s():
            own = f"must be a folder of its own, such as {run.path}/run: {run.path} holds other things"
            yield Violation((key,), own)


def _folder_rules(key: Key, folder: Path, *, writable: bool = False) -> Iterator[Violation]:
    """Of one that is made where it is not there."""
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            yield Violation((key,), f"must be a folder, and {there} is none")
        elif writable and not os.access(there, os.W_OK | os.X_OK):
            yield Violation((key,), f"must be writable by this user: chmod or chown {there}")
    except PermissionError as error:
        # Whoever runs the fleet may look.
        if writable:
            yield Violation((key,), _cannot_be_looked_at(folder, error))
    except OSError as error:
        yield Violation((key,), _cannot_be_looked_at(folder, error))


def _cluster_rules(cluster: Cluster, state_dir: Path) -> Iterator[Violation]:
    if cluster.profile is not None:
        for key in ("address", "namespace", "api_key_file", "tls"):
            if getattr(cluster, key) is not None:
                yield Violation(
                    (("cluster", key), ("cluster", "profile")),
                    "comes from the profile: put it there, or drop `profile`",
                )
    if cluster.embedded is not None:
        for key in ("address", "api_key_file", "tls", "profile"):
            if getattr(cluster, key) is not None:
                yield Violation(
                    (("cluster", key), ("cluster", "embedded")),
                    "belongs to another Cluster than the embedded one: drop it, or drop [cluster.embedded]",
                )
        yield from _embedded_rules(cluster, state_dir)
    if cluster.api_key_file is not None:
        yield from _readable(("cluster", "api_key_file"), cluster.api_key_file)
    if cluster.tls is not None:
        yield from _tls_rules(cluster)


def _embedded_rules(cluster: Cluster, state_dir: Path) -> Iterator[Violation]:
    embedded = cluster.embedded
    assert embedded is not None
    table: Key = ("cluster", "embedded")
    if embedded.port and embedded.port == embedded.ui_port:
        yield Violation(
            ((*table, "ui_port"), (*table, "port")), "must be another port than `port`, such as 8233"
        )
    database = embedded.database
    if database is None:
        return
    key = ((*table, "database"),)
    try:
        # That of the fleet is made when it starts.
        if database.parent != state_dir and not database.parent.is_dir():
            yield Violation(key, f"its folder must exist: mkdir -p {database.parent}")
        elif database.exists() and not database.is_file():
            yield Violation(key, f"must be a file, and {database} is none")
    except OSError as error:
        yield Violation(key, _cannot_be_looked_at(database, error))


def _tls_rules(cluster: Cluster) -> Iterator[Violation]:
    tls = cluster.tls
    assert tls is not None
    table: Key = ("cluster", "tls")
    for have, lacks in (("client_cert", "client_key"), ("client_key", "client_cert")):
        if getattr(tls, have) is not None and getattr(tls, lacks) is None:
            yield Violation(
                ((*table, have), (*table, lacks)), f"needs {lacks} beside it: mutual TLS takes both"
            )
    for key in ("server_ca", "client_cert", "client_key"):
        path = getattr(tls, key)
        if path is not None:
            yield from _readable((*table, key), path)


def _readable(key: Key, path: Path) -> Iterator[Violation]:
    try:
        if not path.exists():
            yield Violation((key,), f"must be a file, and {path} does not exist")
        elif not path.is_file():
            yield Violation((key,), f"must be a file, and {path} is none")
        elif not os.access(path, os.R_OK):
            yield Violation((key,), f"must be readable by this user: chmod or chown {path}")
    except OSError as error:
        yield Violation((key,), _cannot_be_looked_at(path, error))


def _cannot_be_looked_at(path: Path, error: OSError) -> str:
    return f"{path} cannot be looked at ({error.strerror}): correct it, or the permissions of its folders"


def _name_rules(name: str, pools: dict[str, Pool]) -> Iterator[Violation]:
    if name in HELPERS:
        own = f"{name} names a process that every fleet may have: give this pool another name"
        yield Violation((("pools", name),), own)
    match = re.fullmatch(r"(.+)-[1-9][0-9]*", name)
    if match is not None and match[1] in pools:
        yield Violation(
            (("pools", name),),
            f"{name} is the id of an entity of pool {match[1]}: give this pool another name",
        )


def _pool_rules(table: Key, pool: Pool) -> Iterator[Violation]:
    try:
        if not pool.path.is_dir():
            yield Violation(((*table, "path"),), f"must be a folder, and {pool.path} is none")
    except OSError as error:
        yield Violation(((*table, "path"),), _cannot_be_looked_at(pool.path, error))
    if pool.rollout.max_surge + pool.rollout.max_unavailable < 1:
        rollout = (*table, "rollout")
        yield Violation(
            ((*rollout, "max_surge"), (*rollout, "max_unavailable")),
            "max_surge and max_unavailable must not both be 0, or nothing can ever be replaced: "
            "set one of them to 1",
        )
    restart = (*table, "restart")
    if pool.restart.backoff > pool.restart.backoff_max:
        yield Violation(
            ((*restart, "backoff"), (*restart, "backoff_max")),
            f'must not be longer than backoff_max, "{format_duration(pool.restart.backoff_max)}"',
        )
    if pool.workers == ():
        yield Violation(
            ((*table, "workers"),), "must name at least one of workflow, activity, nexus, or be left out"
        )
    if pool.workers is not None and len(set(pool.workers)) < len(pool.workers):
        yield Violation(((*table, "workers"),), "must name each worker once")
    worker = (*table, "worker")
    if pool.worker.no_remote_activities and pool.workers is not None and "workflow" not in pool.workers:
        yield Violation(
            ((*worker, "no_remote_activities"), (*table, "workers")),
            'leaves nothing to an entity that runs no workflows: drop it, or add "workflow" to `workers`',
        )
    for options, remedy in contradictions(pool.worker):
        yield Violation(tuple((*worker, option) for option in options), remedy)


def _memory_rules(table: Key, memory: Memory, budget: int | None) -> Iterator[Violation]:
    given = [(key, size) for key, size in memory if size is not None]
    for (milder, low), (harsher, high) in itertools.pairwise(given):
        if low >= high:
            yield Violation(
                ((*table, milder), (*table, harsher)),
                f'must be less than {harsher}, "{format_size(high)}", which would always come first',
            )
    if budget is not None and memory.evict_above is not None and memory.evict_above > budget:
        yield Violation(
            ((*table, "evict_above"), ("fleet", "memory_budget")),
            f'must not be more than [fleet] memory_budget, "{format_size(budget)}", which is for all '
            "entities together",
        )
