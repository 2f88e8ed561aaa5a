"""The commented fleet.toml that `init` writes.

A line that starts with `#` and no space after it is a key: without its `#` it is valid where it stands. Prose
has a space after its `#`.
"""

import json

from temporal_fleet.supervisor.config.problems import dotted


def template(
    *,
    program: str = "shop.orders",
    task_queue: str = "orders",
    entities: int = 2,
    embedded: bool = False,
    address: str | None = None,
    namespace: str | None = None,
    name: str | None = None,
    pool: str = "orders",
) -> str:
    """The text of a config file with one pool."""
    fleet_name = '#name = "shop"' if name is None else f"name = {_text(name)}"
    table = dotted(("pools", pool))
    return f"""\
# A fleet of Temporal Workers: `temporal-fleet up` runs it.
#
# A line that starts with "#" and no space is a key that you can set: take the "#" away.
# `temporal-fleet check` reports every error in this file, `check --show` prints every default.
# Durations are strings: "250ms", "30s", "1m30s"; so are sizes: "400MiB".
# Paths are relative to this file's folder, where nothing else is said.

[fleet]
{fleet_name:<40}# in logs and in the identities of workers; default: this file's folder
#run_dir = "run"                        # sockets and black boxes; default: under $XDG_RUNTIME_DIR
#state_dir = "state"                    # what must outlive a reboot; default: under ~/.local/state
#log_format = "auto"                    # auto: console on a terminal, json otherwise
#log_level = "info"                     # debug, info, warning or error
#log_dir = "logs"                       # a rotated file for each process; default: the supervisor's streams
#log_size = "10MiB"                     # of a log file there, when it is rotated
#log_keep = 5                           # rotated files of each
#orphan = "30s"                         # how long entities work on when the supervisor is gone
#memory_budget = "4GiB"                 # for all entities together; above it the largest evict executions
#gpus = [0, 1]                          # those that entities get some of for themselves
#http = "127.0.0.1:9464"                # /metrics, /healthz, /readyz and a status page; default: none

{_cluster(embedded, address, namespace)}
[{table}]
{f"program = {_text(program)}":<40}# a module, or module:attribute: a plugin or a factory
#path = "."                             # put first on sys.path
{f"task_queue = {_text(task_queue)}":<40}# the Task Queue that its entities poll
{f"entities = {entities}":<40}# processes; `temporal-fleet scale {pool}=N` edits this line
#workers = ["workflow", "activity"]     # of workflow, activity, nexus; default: what the program has
#env = {{ REGION = "eu" }}                # environment variables of its processes
#after_fork = "shop.db:reconnect"       # called in each entity before it connects
#drain = "30s"                          # how long activities may run on in an entity that leaves
#hang = "10s"                           # an entity without a heartbeat for so long is killed
#boot = "60s"                           # longest time to import the program, and to get ready
#poison_after = 3                       # an activity that killed so many entities fails for good; 0: never

# Options of the SDK's Worker() by name.
#[{table}.worker]
#max_cached_workflows = 1000
#max_concurrent_activities = 100
#max_concurrent_workflow_tasks = 100

# An entity whose heart beats and that does no work for so long is replaced; "never": it is not.
#[{table}.liveness]
#polling = "30s"                        # does not poll, though it could, while the Cluster answers
#activation = "30s"                     # workflow code that yields nothing
#activity = "60s"                       # an activity that runs on beyond its attempt's time-out

# What happens when an entity dies. After more than max_restarts crashes within this time it has failed.
#[{table}.restart]
#policy = "always"                      # always, on-failure, never
#backoff = "100ms"                      # pause before the second in a row; it doubles each time
#backoff_max = "30s"
#max_restarts = 10
#within = "60s"

# What is done about the memory (RSS) of one entity, the mildest first; each limit may be left out.
#[{table}.memory]
#evict_above = "300MiB"                 # blocked executions leave its cache; they resurrect when needed
#recycle_above = "500MiB"               # that did not help: replaced, start before stop
#kill_above = "700MiB"                  # killed at once; what it held is recovered as after a crash

# Entities of a program that leaks are replaced in time, start before stop.
#[{table}.recycle]
#max_age = "24h"
#max_tasks = 100000

# How entities are replaced when code or settings change: start before stop.
#[{table}.rollout]
#max_surge = 1
#max_unavailable = 0

# What each process of the pool may have of the host; what is left out is as for the supervisor.
#[{table}.resources]
#gpus = 0                               # for each entity alone, out of [fleet] gpus
#cpus = "0"                             # that it may run on: "0-3", "0,2,4-7"
#nice = 5                               # 19 gives way to all others
#open_files = 1024
#memory_max = "1GiB"                    # private memory, beyond which the kernel gives none
#user = "worker"                        # for its processes; the supervisor keeps its own
"""


def _cluster(embedded: bool, address: str | None, namespace: str | None) -> str:
    where = '#namespace = "default"' if namespace is None else f"namespace = {_text(namespace)}"
    if embedded:
        return f"""\
[cluster]
# An address, a namespace's credentials or a profile belong to another Cluster: first drop [cluster.embedded].
{where}
#data_converter = "shop.crypto:converter"
#rebuild_task_tokens = true             # free Workflow Tasks of a dead entity at once, not at their time-out

# A Temporal dev server that starts and stops with the fleet.
[cluster.embedded]
#database = "temporal.db"               # in state_dir, kept across runs; default: in memory
#port = 7233                            # 0 picks a free one
#ui_port = 8233                         # the web UI; 0 picks a free one
"""
    at = '#address = "localhost:7233"' if address is None else f"address = {_text(address)}"
    return f"""\
[cluster]
{at:<40}# host:port
{where}
#api_key_file = "api-key"               # a file with the API key; a new one in it is taken up
#data_converter = "shop.crypto:converter"
#rebuild_task_tokens = true             # free Workflow Tasks of a dead entity at once, not at their time-out
#profile = "prod"                       # a profile of Temporal's own configuration, instead of all of these

# Present, even empty, the connection is encrypted. Files that change are taken up without a restart.
#[cluster.tls]
#server_ca = "tls/ca.pem"               # default: the system's authorities
#client_cert = "tls/client.pem"
#client_key = "tls/client.key"
#server_name = "temporal.internal"      # default: the address's

# A Temporal dev server that starts and stops with the fleet, instead of an address.
#[cluster.embedded]
#database = "temporal.db"               # in state_dir, kept across runs; default: in memory
#port = 7233                            # 0 picks a free one
#ui_port = 8233                         # the web UI; 0 picks a free one
"""


def _text(value: str) -> str:
    # JSON's strings are TOML's, but for one control character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
