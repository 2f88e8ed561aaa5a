"""What a process of the fleet needs to run: plain values, complete, made by the supervisor.

Durations are seconds. Paths are absolute. Secrets are named by their files, never held.
"""

from typing import Any

import msgspec

WorkerOption = bool | int | float | str | list[str]
"""The value of one Worker() keyword argument as TOML can say it; durations are seconds (float)."""


class TlsSpec(msgspec.Struct, frozen=True, kw_only=True):
    """[cluster.tls]: paths of PEM files."""

    server_ca: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None


class ClusterSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach the Cluster. With `profile` the connection comes from Temporal's own environment
    configuration; the keys given here beside it win."""

    address: str | None = None
    namespace: str | None = None
    profile: str | None = None
    tls: TlsSpec | None = None
    api_key_file: str | None = None
    data_converter: str | None = None
    """`module:attribute`: a DataConverter, a class or a callable that makes one."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Within which limits, and as whom, the processes of a program run, its fork server included. None: as
    the supervisor does."""

    cpus: tuple[int, ...] | None = None
    nice: int | None = None
    open_files: int | None = None
    memory_max: int | None = None
    """Bytes of private memory, of each process."""
    user: str | None = None


class ProgramSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One Worker Program as a fork server loads it. Equal specs share one fork server.

    What is at its default is not written: a version that knows more keys finds no entity outdated for that.
    """

    program: str
    """`module`, `module:plugin` or `module:factory`."""
    path: str
    """Put first on sys.path."""
    env: dict[str, str] = {}
    limits: Limits = Limits()
    gpus: bool = False
    """Each entity has some of its own; the fork server sees none."""
    workers: tuple[str, ...] | None = None
    """Of `workflow`, `activity`, `nexus`; None: what the program has."""
    after_fork: str | None = None
    data_converter: str | None = None
    worker: dict[str, WorkerOption] = {}
    task_queue: str

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return list({**fields, "env": dict.fromkeys(self.env, "…")}.items())

    def __repr__(self) -> str:
        """Without the values of `env`, which may be secrets: a repr ends up in logs and tracebacks."""
        return f"ProgramSpec({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"


class LogFiles(msgspec.Struct, frozen=True, kw_only=True):
    """[fleet] log_dir: each process has a file of its own there, as of protocol.logfile."""

    folder: str
    size: int
    """Bytes, from which on a file is rotated."""
    keep: int
    """How many rotated files of each stay."""


class EntitySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything one life of one entity needs."""

    fleet: str
    entity: str
    incarnation: int
    run_dir: str
    supervisor_pid: int
    cluster: ClusterSpec
    program: ProgramSpec
    gpus: tuple[int, ...] = ()
    """Indices of the GPUs that are its own while it lives."""
    drain: float
    orphan: float
    log_format: str
    """`console` or `json`, on the inherited streams. Files are always JSON."""
    log_level: str = "info"
    """As of messages.Settings, like `log_files`; until the supervisor says otherwise."""
    log_files: LogFiles | None = None
    rebuild_task_tokens: bool = True
    """Whether Workflow Tasks that its Worker dropped are freed by tokens made anew."""
