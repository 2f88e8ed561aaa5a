"""The frozen models of fleet.toml: which keys there are, of which type, with which default. How a file is
read, and what keys mean beside each other, does not belong here.

Descriptions and examples feed the JSON Schema and the error messages. A field without a default is either
required in the file or filled in from its surroundings before validation (`defaults.py`).
"""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from temporal_fleet.supervisor.config.values import (
    Address,
    Cpus,
    Duration,
    DurationBetween,
    DurationOrNever,
    EnvironmentName,
    EnvironmentValue,
    FileSystemPath,
    FleetName,
    HttpAddress,
    MemorySize,
    Name,
    PoolName,
    PositiveDuration,
    ProcessMemory,
    Program,
    Reference,
    SizeFrom,
    StatePath,
    TaskQueue,
)
from temporal_fleet.supervisor.config.worker_options import WorkerOptions

MAX_ENTITIES: Final = 1000

Port = Annotated[int, Field(ge=0, le=65535)]


class Table(BaseModel):
    """A table of the file: unknown keys are errors, and "4" is not 4."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Fleet(Table):
    """[fleet]: what holds for all pools."""

    name: FleetName = Field(
        description="Name of the fleet, in logs and in its entities' identities. Default: the file's folder; "
        "of a file in /etc/temporal-fleet: its own name.",
        examples=["shop"],
    )
    run_dir: FileSystemPath = Field(
        description="Folder of sockets and black boxes, mode 0700, or 0711 where a pool has "
        "`resources.user`. Default: $RUNTIME_DIRECTORY, else "
        "/run/temporal-fleet/NAME for /etc/temporal-fleet/NAME.toml, else "
        "$XDG_RUNTIME_DIR/temporal-fleet/NAME, else /tmp/temporal-fleet-UID/NAME.",
        examples=["/run/shop"],
    )
    state_dir: FileSystemPath = Field(
        description="Folder of what must outlive a reboot. Default: $STATE_DIRECTORY, else "
        "/var/lib/temporal-fleet/NAME for /etc/temporal-fleet/NAME.toml, else "
        "$XDG_STATE_HOME/temporal-fleet/NAME, else ~/.local/state/temporal-fleet/NAME.",
        examples=["/var/lib/shop"],
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto",
        description="How lines are logged; auto: console on a terminal, JSON otherwise.",
        examples=["json"],
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="What is logged at least, by the supervisor, by entities, and by programs that chose no "
        "level themselves.",
        examples=["debug"],
    )
    log_dir: FileSystemPath | None = Field(
        default=None,
        description="Folder of log files, one of JSON lines for each process, rotated; absent: all processes "
        "log to the streams of the supervisor.",
        examples=["/var/log/shop"],
    )
    log_size: Annotated[int, SizeFrom(minimum=64 << 10)] = Field(
        default="10MiB",
        validate_default=True,
        description="A log file in log_dir is rotated when it has reached this size.",
        examples=["10MiB"],
    )
    log_keep: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="How many rotated files stay of each log in log_dir.", examples=[5]
    )
    orphan: Duration = Field(
        default="30s",
        validate_default=True,
        description="How long entities work on without a supervisor before they drain.",
        examples=["30s"],
    )
    memory_budget: MemorySize | None = Field(
        default=None,
        description="Memory (PSS) of all entities together, above which the largest of them evict blocked "
        "executions first; absent: no limit.",
        examples=["4GiB"],
    )
    gpus: Annotated[
        tuple[Annotated[int, Field(ge=0, le=255)], ...],
        Field(strict=False, json_schema_extra={"uniqueItems": True}),
    ] = Field(
        default=(),
        description="The GPUs, as nvidia-smi numbers them, of which entities get some for themselves alone.",
        examples=[[0, 1]],
    )
    http: HttpAddress | None = Field(
        default=None,
        description="HOST:PORT to serve /metrics, /healthz, /readyz and a status page at; port 0 picks a "
        "free one; absent: none. Everybody who reaches it may read: there is no password.",
        examples=["127.0.0.1:9464"],
    )


class Tls(Table):
    """[cluster.tls]: present, even empty, the connection is encrypted. What changes in the files is taken up
    without a restart."""

    server_ca: FileSystemPath | None = Field(
        default=None,
        description="PEM file of the authority to trust; absent: the system's.",
        examples=["tls/ca.pem"],
    )
    client_cert: FileSystemPath | None = Field(
        default=None, description="PEM file of the client's certificate.", examples=["tls/client.pem"]
    )
    client_key: FileSystemPath | None = Field(
        default=None, description="PEM file of the client's private key.", examples=["tls/client.key"]
    )
    server_name: Name | None = Field(
        default=None,
        description="Name that the server's certificate must have; absent: the address's.",
        examples=["temporal.internal"],
    )


class Embedded(Table):
    """[cluster.embedded]: present, a Temporal dev server runs under the supervisor."""

    database: StatePath | None = Field(
        default=None,
        description=(
            "SQLite file that keeps its state across runs, in [fleet] state_dir unless its path is absolute; "
            "absent: in memory. An empty file beside it, named after it with .one-partition, belongs to it: "
            "it says how its task queues were begun."
        ),
        examples=["dev.db"],
    )
    port: Port = Field(
        default=7233, description="Port of the dev server; 0 picks a free one.", examples=[7233]
    )
    ui_port: Port = Field(
        description="Port of its web UI; 0 picks a free one. Default: 8233, or 0 when port is 0.",
        examples=[8233],
    )


class Cluster(Table):
    """[cluster]: how to reach the Cluster."""

    address: Address | None = Field(
        default=None,
        description="host:port of the Cluster. Default: localhost:7233. Not with profile or embedded.",
        examples=["localhost:7233"],
    )
    namespace: Name | None = Field(
        default=None,
        description="Namespace in the Cluster. Default: default. Not with profile.",
        examples=["default"],
    )
    profile: Name | None = Field(
        default=None,
        description="A profile of Temporal's own environment configuration, instead of address, namespace, "
        "tls and api_key_file.",
        examples=["prod"],
    )
    api_key_file: FileSystemPath | None = Field(
        default=None,
        description="File with the API key; a new one in it is taken up without a restart. Of a service: "
        "${CREDENTIALS_DIRECTORY}/NAME, as with the files of tls.",
        examples=["api-key"],
    )
    data_converter: Reference | None = Field(
        default=None,
        description="module:attribute of a DataConverter, or of a class or callable that makes one.",
        examples=["shop.crypto:converter"],
    )
    rebuild_task_tokens: bool = Field(
        default=True,
        description="Free the Workflow Tasks of a dead entity at once, by task tokens made anew, and those "
        "that one drops as it leaves (it goes by what held when it was forked); false: they wait for their "
        "own time-out.",
        examples=[True],
    )
    tls: Tls | None = Field(default=None, description="TLS; present, even empty, it is used.")
    embedded: Embedded | None = Field(default=None, description="A Temporal dev server under the supervisor.")


class Restart(Table):
    """How a dead entity is restarted. Each entity counts for itself."""

    policy: Literal["always", "on-failure", "never"] = Field(
        default="always",
        description="Whether a dead entity is restarted; on-failure: not after it drained and ended by "
        "itself.",
        examples=["always"],
    )
    backoff: PositiveDuration = Field(
        default="100ms",
        validate_default=True,
        description="Pause before the second restart in a row (the first is at once); it doubles each time.",
        examples=["100ms"],
    )
    backoff_max: PositiveDuration = Field(
        default="30s", validate_default=True, description="Longest such pause.", examples=["30s"]
    )
    max_restarts: Annotated[int, Field(ge=0, le=10_000)] = Field(
        default=10,
        description="More crashes than these within `within`: the entity has failed and is left alone.",
        examples=[10],
    )
    within: Annotated[float, DurationBetween(minimum=1.0)] = Field(
        default="60s",
        validate_default=True,
        description="The time within which more than max_restarts crashes are too many.",
        examples=["60s"],
    )


class Rollout(Table):
    """How many entities more and fewer there may be while they are replaced. Not both 0."""

    max_surge: Annotated[int, Field(ge=0, le=MAX_ENTITIES)] = Field(
        default=1, description="Entities above the pool's size while they are replaced.", examples=[1]
    )
    max_unavailable: Annotated[int, Field(ge=0, le=MAX_ENTITIES)] = Field(
        default=0, description="Entities below the pool's size while they are replaced.", examples=[0]
    )


class Memory(Table):
    """What is done about the memory (RSS) of one entity, the mildest first. Absent: no such limit."""

    evict_above: MemorySize | None = Field(
        default=None,
        description="RSS of an entity above which blocked executions are evicted, as many as it takes; each "
        "resurrects when it is needed.",
        examples=["300MiB"],
    )
    recycle_above: MemorySize | None = Field(
        default=None,
        description="RSS of an entity above which, where eviction did not help, another is started, and then "
        "this one drains and stops.",
        examples=["500MiB"],
    )
    kill_above: MemorySize | None = Field(
        default=None,
        description="RSS of an entity above which it is killed at once, and what it held is recovered as "
        "after a crash.",
        examples=["700MiB"],
    )


class Recycle(Table):
    """When an entity that is well is replaced, give or take 10 %, start before stop. Absent: never."""

    max_age: Annotated[float, DurationBetween(minimum=1.0)] | None = Field(
        default=None, description="Age, since its fork, at which an entity is replaced.", examples=["24h"]
    )
    max_tasks: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        default=None,
        description="Tasks (Workflow, activity, Nexus) in one life after which an entity is replaced.",
        examples=[100_000],
    )


class Liveness(Table):
    """For how long an entity whose heart beats may do no work, before it is replaced. "never": for ever."""

    polling: Annotated[float, DurationOrNever(minimum=5.0)] = Field(
        default="30s",
        validate_default=True,
        description="How long an entity may not poll for work that it could take, while the Cluster answers.",
        examples=["30s", "never"],
    )
    activation: Annotated[float, DurationOrNever(minimum=5.0)] = Field(
        default="30s",
        validate_default=True,
        description="How long the workflow code of one execution may run on, and yield nothing.",
        examples=["30s", "never"],
    )
    activity: Annotated[float, DurationOrNever(minimum=5.0)] = Field(
        default="60s",
        validate_default=True,
        description="How long an activity may run on beyond the time-out of its attempt.",
        examples=["60s", "never"],
    )


class Resources(Table):
    """What each process of a pool may have of the host. Absent: what the supervisor has."""

    gpus: Annotated[int, Field(ge=0, le=16)] = Field(
        default=0,
        description="GPUs for each entity alone, out of [fleet] gpus; it sees no others.",
        examples=[1],
    )
    cpus: Cpus | None = Field(
        default=None, description="The CPUs that it may run on, as taskset lists them.", examples=["0-3"]
    )
    nice: Annotated[int, Field(ge=-20, le=19)] | None = Field(
        default=None, description="Its niceness: 19 gives way to all others.", examples=[5]
    )
    open_files: Annotated[int, Field(ge=64, le=1 << 30)] | None = Field(
        default=None, description="Files and connections that it may have open.", examples=[65536]
    )
    memory_max: ProcessMemory | None = Field(
        default=None,
        description="Private memory (RLIMIT_DATA) beyond which the kernel gives it none: a MemoryError, or "
        "the end of the process.",
        examples=["1GiB"],
    )
    user: Name | None = Field(
        default=None,
        description="The user that it runs as, with that user's groups. The supervisor keeps its own.",
        examples=["worker"],
    )


class Pool(Table):
    """[pools.NAME]: entities NAME-1, NAME-2, … that run one Worker Program on one task queue."""

    program: Program = Field(
        description="A module whose workflows and activities are found, or module:attribute: a plugin, or "
        "a callable that returns Worker() keyword arguments.",
        examples=["shop.orders"],
    )
    path: FileSystemPath = Field(
        description="Folder put first on sys.path. Default: the config file's folder.", examples=["src"]
    )
    task_queue: TaskQueue = Field(description="The task queue that the entities poll.", examples=["orders"])
    entities: Annotated[int, Field(ge=0, le=MAX_ENTITIES)] = Field(
        default=1, description="Number of entities.", examples=[4]
    )
    workers: (
        Annotated[
            tuple[Literal["workflow", "activity", "nexus"], ...],
            Field(strict=False, json_schema_extra={"minItems": 1, "uniqueItems": True}),
        ]
        | None
    ) = Field(
        default=None,
        description="Which workers each entity runs; workflows have their local activities in any case. "
        "Default: what the program has.",
        examples=[["workflow", "activity"]],
    )
    env: dict[EnvironmentName, EnvironmentValue] = Field(
        default_factory=dict,
        repr=False,
        description="Environment variables of the pool's processes.",
        examples=[{"REGION": "eu"}],
    )
    after_fork: Reference | None = Field(
        default=None,
        description="module:attribute of a callable, called in each entity before it connects.",
        examples=["shop.db:reconnect"],
    )
    worker: WorkerOptions = Field(
        default_factory=WorkerOptions, description="Options of the SDK's Worker() by name."
    )
    restart: Restart = Field(default_factory=Restart, description="How a dead entity is restarted.")
    memory: Memory = Field(default_factory=Memory, description="What is done about the memory of an entity.")
    recycle: Recycle = Field(
        default_factory=Recycle, description="When an entity is replaced though nothing is wrong with it."
    )
    poison_after: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=3,
        description="An activity that has killed so many entities is failed for good, as a PoisonPill; "
        "0: never.",
        examples=[3],
    )
    drain: Duration = Field(
        default="30s",
        validate_default=True,
        description="How long activities may run on in an entity that leaves.",
        examples=["30s"],
    )
    hang: Annotated[float, DurationBetween(minimum=2.0)] = Field(
        default="10s",
        validate_default=True,
        description="An entity without a heartbeat for so long is killed.",
        examples=["10s"],
    )
    liveness: Liveness = Field(
        default_factory=Liveness, description="When an entity lives and does no work: it is replaced."
    )
    boot: PositiveDuration = Field(
        default="60s",
        validate_default=True,
        description="Longest time a program may take to import, and an entity to get ready.",
        examples=["60s"],
    )
    rollout: Rollout = Field(
        default_factory=Rollout, description="How entities are replaced when code or settings change."
    )
    resources: Resources = Field(
        default_factory=Resources, description="What each process of the pool may have of the host."
    )


class FleetFile(Table):
    """The whole of fleet.toml."""

    fleet: Fleet = Field(description="What holds for all pools.")
    cluster: Cluster = Field(description="How to reach the Cluster.")
    pools: dict[PoolName, Pool] = Field(default_factory=dict, description="Pools of entities by name.")


class Config(FleetFile):
    """An effective config: every default filled in, every path absolute."""

    path: Path | None = Field(default=None, exclude=True)
    """The file it was read from; None under `run`, which has none."""
