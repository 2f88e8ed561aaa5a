"""Config -> what the other processes are told: the values of `protocol/spec.py`. Decides nothing."""

from typing import Final, Literal

from temporal_fleet.protocol.logfile import files_of
from temporal_fleet.protocol.secrets import environment_secrets
from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, Limits, LogFiles, ProgramSpec, TlsSpec
from temporal_fleet.supervisor.config.settings import Config

# Indices are those of nvidia-smi. A program's import is nobody's entity: a GPU that it took hold of could not
# be used by any fork of it.
_WITH_GPUS: Final = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ""}


def cluster_spec(config: Config, embedded_address: str | None = None) -> ClusterSpec:
    """How to reach the Cluster. `embedded_address` is where the embedded one listens, and only for it."""
    cluster = config.cluster
    tls = cluster.tls
    return ClusterSpec(
        address=embedded_address if cluster.embedded is not None else cluster.address,
        namespace=cluster.namespace,
        profile=cluster.profile,
        tls=None
        if tls is None
        else TlsSpec(
            server_ca=_text(tls.server_ca),
            client_cert=_text(tls.client_cert),
            client_key=_text(tls.client_key),
            server_name=tls.server_name,
        ),
        api_key_file=_text(cluster.api_key_file),
        data_converter=cluster.data_converter,
    )


def program_spec(config: Config, pool_name: str) -> ProgramSpec:
    """What a fork server of this pool loads."""
    pool = config.pools[pool_name]
    return ProgramSpec(
        program=pool.program,
        path=str(pool.path),
        env={**(_WITH_GPUS if pool.resources.gpus else {}), **pool.env},
        limits=Limits(
            cpus=pool.resources.cpus,
            nice=pool.resources.nice,
            open_files=pool.resources.open_files,
            memory_max=pool.resources.memory_max,
            user=pool.resources.user,
        ),
        gpus=bool(pool.resources.gpus),
        workers=pool.workers,
        after_fork=pool.after_fork,
        data_converter=config.cluster.data_converter,
        worker={**pool.worker.given()},
        task_queue=pool.task_queue,
    )


def entity_spec(
    config: Config,
    pool_name: str,
    *,
    entity: str,
    incarnation: int,
    gpus: tuple[int, ...],
    supervisor_pid: int,
    cluster_address: str | None,
    log_format: Literal["console", "json"],
) -> EntitySpec:
    """Everything one life of one entity needs. `cluster_address`: where an embedded one listens."""
    return EntitySpec(
        fleet=config.fleet.name,
        entity=entity,
        incarnation=incarnation,
        run_dir=str(config.fleet.run_dir),
        supervisor_pid=supervisor_pid,
        cluster=cluster_spec(config, cluster_address),
        program=program_spec(config, pool_name),
        gpus=gpus,
        drain=config.pools[pool_name].drain,
        orphan=config.fleet.orphan,
        log_format=log_format,
        log_level=config.fleet.log_level,
        log_files=log_files(config, pool_name),
        rebuild_task_tokens=config.cluster.rebuild_task_tokens,
    )


def log_files(config: Config, pool: str | None = None) -> LogFiles | None:
    """Of the entities of a pool, or of the supervisor; None: they log to the streams that they inherited."""
    fleet = config.fleet
    if fleet.log_dir is None:
        return None
    user = config.pools[pool].resources.user if pool in config.pools else None
    return files_of(LogFiles(folder=str(fleet.log_dir), size=fleet.log_size, keep=fleet.log_keep), user)


def secrets(config: Config) -> list[str]:
    """The values of pools' `env` that the file says nowhere else."""
    told = [config.fleet.name, config.cluster.address, config.cluster.namespace]
    for name, pool in config.pools.items():
        told += [name, pool.program, str(pool.path), pool.task_queue]
    environments = (pool.env for pool in config.pools.values())
    return [value for each in environments for value in environment_secrets(each, told)]


def log_format(config: Config, *, terminal: bool) -> Literal["console", "json"]:
    """The log format, where `auto` asks whether the log goes to a terminal."""
    chosen = config.fleet.log_format
    if chosen == "auto":
        return "console" if terminal else "json"
    return chosen


def _text(path: object | None) -> str | None:
    return None if path is None else str(path)
