"""`worker = { … }` of a pool: which of the SDK's Worker() options fleet.toml can set, and why not the others.

A table of its own, because the supervisor never imports the SDK; a test holds it against the SDK's own
signature. What the options do is the SDK's documentation's business.
"""

from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from temporal_fleet.supervisor.config.values import PositiveDuration

# More is a slip of the hand; a cache of 2**31 was seen to abort the process inside the SDK's core.
Count = Annotated[int, Field(ge=1, le=1_000_000)]
# Each is a request that stays open at the Cluster.
Polls = Annotated[int, Field(ge=1, le=1000)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class WorkerOptions(BaseModel):
    """The SDK's Worker() options by name; what is absent keeps the SDK's default, but for those that name
    another."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    max_cached_workflows: Annotated[int, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="Workflow Executions kept in memory; 0 caches none.", examples=[500]
    )
    max_concurrent_workflow_tasks: Count | None = Field(
        default=None, description="Workflow Tasks at one time.", examples=[100]
    )
    max_concurrent_activities: Count | None = Field(
        default=None, description="Activities at one time.", examples=[50]
    )
    max_concurrent_local_activities: Count | None = Field(
        default=None, description="Local activities at one time.", examples=[50]
    )
    max_concurrent_nexus_tasks: Count | None = Field(
        default=None, description="Nexus tasks at one time.", examples=[50]
    )
    max_concurrent_workflow_task_polls: Polls | None = Field(
        default=None, description="Polls for Workflow Tasks at one time.", examples=[5]
    )
    nonsticky_to_sticky_poll_ratio: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = Field(
        default=None, description="Share of those polls that the normal queue gets.", examples=[0.2]
    )
    max_concurrent_activity_task_polls: Polls | None = Field(
        default=None, description="Polls for activities at one time.", examples=[5]
    )
    no_remote_activities: bool | None = Field(
        default=None, description="Run local activities only.", examples=[False]
    )
    sticky_queue_schedule_to_start_timeout: PositiveDuration | None = Field(
        default=None,
        description="How long a Workflow Task waits for the entity that has the execution cached. "
        "Default: 2s.",
        examples=["10s"],
    )
    max_heartbeat_throttle_interval: PositiveDuration | None = Field(
        default=None, description="Longest time between two heartbeats of an activity.", examples=["60s"]
    )
    default_heartbeat_throttle_interval: PositiveDuration | None = Field(
        default=None,
        description="Time between two heartbeats of an activity without a heartbeat timeout.",
        examples=["30s"],
    )
    max_activities_per_second: Rate | None = Field(
        default=None, description="Activities a second, each entity.", examples=[100]
    )
    max_task_queue_activities_per_second: Rate | None = Field(
        default=None, description="Activities a second, the whole task queue.", examples=[100]
    )
    max_eager_activity_reservations_per_workflow_task: Count | None = Field(
        default=None, description="Activities that one Workflow Task may start eagerly.", examples=[3]
    )
    debug_mode: bool | None = Field(
        default=None, description="No deadlock detection, for debuggers.", examples=[False]
    )
    disable_eager_activity_execution: bool | None = Field(
        default=None, description="No eager activities.", examples=[False]
    )
    disable_safe_workflow_eviction: bool | None = Field(
        default=None, description="Leave evicted workflows to the garbage collector.", examples=[False]
    )
    disable_payload_error_limit: bool | None = Field(
        default=None, description="Send payloads that the Cluster may find too large.", examples=[False]
    )
    max_workflow_task_external_storage_concurrency: Count | None = Field(
        default=None, description="External payloads in transfer for one Workflow Task.", examples=[3]
    )

    def given(self) -> dict[str, bool | int | float]:
        """The options that are set, as Worker() keyword arguments; durations in seconds."""
        return {name: value for name, value in self.__dict__.items() if value is not None}


OWNED: Final = {
    "client": "the fleet connects: set [cluster] address, namespace, tls, api_key_file or profile",
    "task_queue": "set `task_queue` of the pool",
    "activities": "the program's activities are found: set `program` of the pool",
    "workflows": "the program's workflows are found: set `program` of the pool",
    "nexus_service_handlers": "the program's Nexus handlers are found: set `program` of the pool",
    "identity": "an entity's identity is FLEET/ENTITY.INCARNATION@HOST:PID: set [fleet] name",
    "build_id": "computed once from the program's code; for Worker Versioning return `deployment_config` "
    'from a factory: program = "module:factory"',
    "use_worker_versioning": "deprecated by the SDK: return `deployment_config` from a factory: "
    'program = "module:factory"',
    "workflow_runner": "the fleet's own runner counts and evicts executions; let modules through the "
    'sandbox with a plugin: program = "module:plugin"',
    "graceful_shutdown_timeout": "set `drain` of the pool",
    "plugin_shutdown_timeout": "an entity that leaves is killed 5 s after its drain: set `drain` of the pool",
}
"""Options that are the fleet's own, each with what to use instead."""

CODE_ONLY: Final = frozenset(
    {
        "activity_executor",
        "workflow_task_executor",
        "nexus_task_executor",
        "unsandboxed_workflow_runner",
        "plugins",
        "interceptors",
        "tuner",
        "workflow_failure_exception_types",
        "shared_state_manager",
        "on_fatal_error",
        "deployment_config",
        "patch_activation_callback",
        "workflow_task_poller_behavior",
        "activity_task_poller_behavior",
        "nexus_task_poller_behavior",
    }
)
"""Options whose values are Python objects, which TOML cannot say."""

DEFAULT_CACHED_WORKFLOWS: Final = 1000
"""The SDK's default, on which the floor of two polls and two tasks hangs."""

DEFAULT_MAX_HEARTBEAT_THROTTLE: Final = 60.0
"""The SDK's default, in seconds."""


def why_refused(name: str) -> str | None:
    """What to do instead of setting this option; None when it is no option of Worker() that we know."""
    if name in OWNED:
        return f"not set here: {OWNED[name]}"
    if name in CODE_ONLY:
        return 'only code can give it: return it from a factory: program = "module:factory"'
    return None


def contradictions(options: WorkerOptions) -> Iterator[tuple[tuple[str, ...], str]]:
    """The options that exclude each other, and what would be right; the first is the one to change."""
    cached = options.max_cached_workflows
    if cached is None:
        cached = DEFAULT_CACHED_WORKFLOWS
    for name in ("max_concurrent_workflow_tasks", "max_concurrent_workflow_task_polls"):
        if cached and getattr(options, name) == 1:
            yield (
                (name, "max_cached_workflows"),
                "must be at least 2 while workflows are cached; or set max_cached_workflows = 0",
            )
    if options.disable_eager_activity_execution and (
        options.max_eager_activity_reservations_per_workflow_task is not None
    ):
        yield (
            ("max_eager_activity_reservations_per_workflow_task", "disable_eager_activity_execution"),
            "has no meaning beside disable_eager_activity_execution = true: drop one of them",
        )
    longest = options.max_heartbeat_throttle_interval or DEFAULT_MAX_HEARTBEAT_THROTTLE
    if (options.default_heartbeat_throttle_interval or 0) > longest:
        yield (
            ("default_heartbeat_throttle_interval", "max_heartbeat_throttle_interval"),
            "must not be longer than max_heartbeat_throttle_interval, which is 60s unless it is set",
        )
