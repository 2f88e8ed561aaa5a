"""Whether the pools ask for more than there is: of the GPUs that the fleet lists, of the host, and of the
rights of this process. What the host has is an argument (`host.py`)."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from temporal_fleet.protocol.rundir import SOCKET_PATH_LIMIT, bus_of
from temporal_fleet.supervisor.config.host import FOR_USERS, Access, Host, missing
from temporal_fleet.supervisor.config.places import Key
from temporal_fleet.supervisor.config.rules import Violation
from temporal_fleet.supervisor.config.settings import FleetFile, Pool
from temporal_fleet.supervisor.config.units import format_cpus, format_size


def resource_violations(config: FleetFile, host: Host | None) -> Iterator[Violation]:
    """Every rule about resources that a config breaks; without a host, those that none is needed for."""
    yield from _gpu_rules(config)
    for name, pool in config.pools.items():
        table = ("pools", name, "resources")
        if pool.resources.gpus and "CUDA_VISIBLE_DEVICES" in pool.env:
            yield Violation(
                (("pools", name, "env", "CUDA_VISIBLE_DEVICES"), (*table, "gpus")),
                "is set for each entity, since the pool has `gpus`: drop one of them",
            )
        if host is not None:
            yield from _host_rules(table, pool, host)
            if pool.resources.user is not None:
                yield from _user_rules((*table, "user"), pool.resources.user, config, pool, host)


def _gpu_rules(config: FleetFile) -> Iterator[Violation]:
    place: Key = ("fleet", "gpus")
    if len(set(config.fleet.gpus)) < len(config.fleet.gpus):
        yield Violation((place,), "must name each GPU once")
    users = {name: pool for name, pool in config.pools.items() if pool.resources.gpus and pool.entities}
    there, needed = len(config.fleet.gpus), _gpus_needed(config)
    if needed <= there:
        return
    keys: list[Key] = [("pools", name, "resources", "gpus") for name in users]
    shares = ", ".join(f"{name} {p.entities} x {p.resources.gpus}" for name, p in users.items())
    spare = _spare_gpus(config)
    told = f"{shares}" + (f", and {spare} while entities are replaced" if spare else "")
    without_surge = "rollout = { max_surge = 0, max_unavailable = 1 }, "
    yield Violation(
        (place, *keys) if there else (*keys, place),
        f"the pools take {needed} of [fleet] gpus ({told}), which lists {there}: list more, set "
        f"{without_surge if spare else ''}fewer `entities` or fewer `gpus`",
    )


def _gpus_needed(config: FleetFile) -> int:
    taken = sum(pool.entities * pool.resources.gpus for pool in config.pools.values())
    return taken + _spare_gpus(config)


def _spare_gpus(config: FleetFile) -> int:
    """Pools may be rolled at one time; with what one of them needs they come through, one after the other."""
    pools = config.pools.values()
    surges = (min(pool.rollout.max_surge, pool.entities) * pool.resources.gpus for pool in pools)
    return max(surges, default=0)


def _host_rules(table: Key, pool: Pool, host: Host) -> Iterator[Violation]:
    wanted = pool.resources
    if absent := set(wanted.cpus or ()) - host.cpus:
        yield Violation(
            ((*table, "cpus"),),
            f"CPU {format_cpus(absent)} is not there for this process, which may run on "
            f'"{format_cpus(host.cpus)}"',
        )
    if wanted.memory_max is not None and wanted.memory_max > host.memory:
        yield Violation(
            ((*table, "memory_max"),), f'must be at most what the host has, "{format_size(host.memory)}"'
        )
    if wanted.open_files is not None and wanted.open_files > host.open_files:
        yield Violation(
            ((*table, "open_files"),),
            f"must be at most {host.open_files}, which is all that this process may allow: raise its hard "
            "limit (LimitNOFILE= of the unit, or ulimit -Hn)",
        )
    if wanted.nice is not None and wanted.nice < host.lowest_nice:
        yield Violation(
            ((*table, "nice"),),
            f"must be at least {host.lowest_nice}: for less this process needs CAP_SYS_NICE, or a higher "
            "LimitNICE= of the unit",
        )


def _user_rules(key: Key, name: str, config: FleetFile, pool: Pool, host: Host) -> Iterator[Violation]:
    user = host.account(name)
    if user is None:
        yield Violation((key,), f"there is no such user: make it (useradd --system {name}), or name another")
        return
    if user.uid == host.uid:
        return
    if lacks := missing(host, FOR_USERS):
        yield Violation(
            (key,),
            f"this process may not run others as {name}: run the fleet as root, in its unit with "
            f"{' '.join(lacks)}; or drop `user`",
        )
        return
    bus = bus_of(config.fleet.run_dir, user.uid)
    if len(bytes(bus)) > SOCKET_PATH_LIMIT:
        yield Violation(
            (("fleet", "run_dir"), key),
            f"{bus}, the socket of {name}, is over the limit of {SOCKET_PATH_LIMIT} bytes: set run_dir to a "
            "shorter folder",
        )
    needs = _needs(name, config, pool)
    closed = host.refused(user, [access for access, _ in needs])
    for (path, _), remedy in needs:
        if path in closed:
            yield Violation((key,), remedy)


def _needs(user: str, config: FleetFile, pool: Pool) -> list[tuple[Access, str]]:
    """What processes of that user must be able to come to, and what to do where they are not."""
    run_dir = config.fleet.run_dir
    above = next(folder for folder in run_dir.parents if folder.exists())
    told = f"{user} cannot enter {above}, where [fleet] run_dir stands: let it, or set run_dir to a folder"
    needs = [((above, os.X_OK), f"{told} such as /run/{config.fleet.name}")]
    for installed in (Path(sys.executable), Path(__file__)):
        told = f"{user} cannot read {installed}: install temporal-fleet where that user can, not in a home"
        needs.append(((installed, os.R_OK), told))
    told = f"{user} cannot read {pool.path}, where its program is imported from: chmod or chown it"
    needs.append(((pool.path, os.R_OK | os.X_OK), told))
    tls = config.cluster.tls
    credentials = [config.cluster.api_key_file]
    credentials += [tls.server_ca, tls.client_cert, tls.client_key] if tls is not None else []
    for file in credentials:
        # One that nobody can read is told at its own place.
        if file is not None and os.access(file, os.R_OK):
            told = f"{user} cannot read {file}, with which its entities connect: chmod or chown it"
            needs.append(((file, os.R_OK), told))
    return needs
