"""Config -> the pools as the core knows them: policies, and what tells two versions of a pool apart."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from temporal_fleet.protocol.spec import ClusterSpec
from temporal_fleet.supervisor.config import settings
from temporal_fleet.supervisor.config.specs import cluster_spec, program_spec
from temporal_fleet.supervisor.core.differences import HIDDEN
from temporal_fleet.supervisor.core.fleet import (
    Gpus,
    LivenessLimits,
    MemoryLimits,
    Pool,
    RecyclePolicy,
    Rollout,
)
from temporal_fleet.supervisor.core.restart import Policy, RestartPolicy


def core_pools(config: settings.Config, cluster_address: str | None) -> Mapping[str, Pool]:
    """The pools of a config; `cluster_address` is the settled one of an embedded Cluster, else None."""
    return {name: _pool(config, name, cluster_address) for name in config.pools}


def _pool(config: settings.Config, name: str, cluster_address: str | None) -> Pool:
    pool = config.pools[name]
    program = program_spec(config, name)
    cluster = cluster_spec(config, cluster_address)
    # What a fork server loads does not depend on these: pools that differ only in them share one.
    shared = msgspec.structs.replace(program, task_queue="", worker={})
    restart = pool.restart
    gpus = Gpus(pool.resources.gpus, config.fleet.gpus if pool.resources.gpus else ())
    return Pool(
        name=name,
        desired=pool.entities,
        program=program,
        revision=_digest(shared),
        digest=_digest([program, cluster, config.fleet.name, config.fleet.orphan, pool.drain, gpus]),
        traits=_traits(config, name, cluster),
        restart=RestartPolicy(
            Policy(restart.policy),
            restart.backoff,
            restart.backoff_max,
            restart.max_restarts,
            restart.within,
        ),
        rollout=Rollout(pool.rollout.max_surge, pool.rollout.max_unavailable),
        drain=pool.drain,
        hang=pool.hang,
        liveness=LivenessLimits(pool.liveness.polling, pool.liveness.activation, pool.liveness.activity),
        boot=pool.boot,
        memory=MemoryLimits(pool.memory.evict_above, pool.memory.recycle_above, pool.memory.kill_above),
        recycle=RecyclePolicy(pool.recycle.max_age, pool.recycle.max_tasks),
        poison_after=pool.poison_after,
        gpus=gpus,
    )


def _traits(config: settings.Config, name: str, cluster: ClusterSpec) -> dict[str, str]:
    """What goes into the digest, by the keys of the file."""
    pool = config.pools[name]
    told = pool.model_dump(
        mode="json", include={"program", "path", "task_queue", "workers", "after_fork", "drain"}
    )
    told |= {f"worker.{option}": value for option, value in _options(pool).items()}
    told |= {f"[cluster] {key}": value for key, value in msgspec.to_builtins(cluster).items() if key != "tls"}
    if cluster.tls is not None:
        told["[cluster] tls"] = "yes"
        told |= {f"[cluster.tls] {key}": value for key, value in msgspec.to_builtins(cluster.tls).items()}
    told["[fleet] orphan"] = config.fleet.model_dump(mode="json", include={"orphan"})["orphan"]
    told |= {f"resources.{key}": value for key, value in pool.resources.model_dump(mode="json").items()}
    if pool.resources.gpus:
        told["[fleet] gpus"] = config.fleet.gpus
    secrets = {f"env.{variable}": f"{HIDDEN}{_digest(value)}" for variable, value in pool.env.items()}
    return {key: _shown(value) for key, value in told.items() if value is not None} | secrets


def _options(pool: settings.Pool) -> dict[str, Any]:
    dumped: dict[str, Any] = pool.worker.model_dump(mode="json")
    return {option: dumped[option] for option in pool.worker.given()}


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()[:12]
