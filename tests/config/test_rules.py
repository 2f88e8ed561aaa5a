"""What keys mean beside each other and beside the files they name."""

from pathlib import Path

import pytest

from tests.config.files import POOL, only_problem, problems, read

FULL = """\
[cluster]
{cluster}
[cluster.tls]
{tls}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ca.pem", "client.pem", "client.key", "api-key"):
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize("key", ["address", "namespace", "api_key_file", "tls"])
def test_a_profile_stands_instead_of_the_other_keys(folder: Path, key: str) -> None:
    values = {"address": '"a:1"', "namespace": '"n"', "api_key_file": '"api-key"', "tls": "{}"}
    problem = only_problem(f'[cluster]\nprofile = "prod"\n{key} = {values[key]}\n{POOL}', folder)
    assert problem.key == f"cluster.{key}"
    assert "profile" in problem.remedy


def test_a_profile_goes_with_a_data_converter() -> None:
    cluster = read(f'[cluster]\nprofile = "prod"\ndata_converter = "a:b"\n{POOL}').cluster
    assert (cluster.address, cluster.namespace, cluster.profile) == (None, None, "prod")


@pytest.mark.parametrize("key", ["address", "api_key_file", "tls", "profile"])
def test_the_embedded_cluster_takes_no_keys_of_another(folder: Path, key: str) -> None:
    values = {"address": '"a:1"', "profile": '"p"', "api_key_file": '"api-key"', "tls": "{}"}
    problem = only_problem(f"[cluster]\n{key} = {values[key]}\n[cluster.embedded]\n{POOL}", folder)
    assert problem.key == f"cluster.{key}"
    assert "[cluster.embedded]" in problem.remedy


def test_the_embedded_cluster_has_a_namespace_and_its_own_ports(folder: Path) -> None:
    cluster = read(f'[cluster]\nnamespace = "n"\n[cluster.embedded]\n{POOL}', folder).cluster
    assert cluster.address is None
    assert cluster.namespace == "n"
    assert cluster.embedded is not None
    assert (cluster.embedded.port, cluster.embedded.ui_port) == (7233, 8233)
    assert cluster.embedded.database is None
    free = read(f"[cluster.embedded]\nport = 0\n{POOL}", folder).cluster.embedded
    assert free is not None
    assert free.ui_port == 0, "two fleets with free ports must not fight for the web UI's"


def test_the_embedded_cluster_needs_two_ports_and_a_folder(folder: Path) -> None:
    assert only_problem(f"[cluster.embedded]\nui_port = 7233\n{POOL}").key == "cluster.embedded.ui_port"
    assert "at most 65535" in only_problem(f"[cluster.embedded]\nport = 70000\n{POOL}").remedy
    missing = only_problem(
        f'[fleet]\nstate_dir = "state"\n[cluster.embedded]\ndatabase = "data/dev.db"\n{POOL}', folder
    )
    assert f"mkdir -p {folder / 'state' / 'data'}" in missing.remedy
    assert missing.value == '"data/dev.db"'
    odd = only_problem(f'[cluster.embedded]\ndatabase = "{folder}"\n{POOL}', folder)
    assert "must be a file" in odd.remedy


@pytest.mark.parametrize(("have", "lacks"), [("client_cert", "client_key"), ("client_key", "client_cert")])
def test_mutual_tls_takes_both_files(folder: Path, have: str, lacks: str) -> None:
    problem = only_problem(f'[cluster.tls]\n{have} = "client.pem"\n{POOL}', folder)
    assert problem.key == f"cluster.tls.{have}"
    assert lacks in problem.remedy


def test_files_are_relative_to_the_files_folder_and_must_be_there(folder: Path) -> None:
    text = FULL.format(
        cluster='api_key_file = "api-key"',
        tls='server_ca = "ca.pem"\nclient_cert = "client.pem"\nclient_key = "client.key"\nserver_name = "t"',
    )
    cluster = read(text + POOL, folder).cluster
    assert cluster.api_key_file == folder / "api-key"
    assert cluster.tls is not None
    assert cluster.tls.client_key == folder / "client.key"
    for name in ("ca.pem", "api-key"):
        (folder / name).unlink()
    (folder / "client.pem").unlink()
    (folder / "client.pem").mkdir()
    found = problems(text + POOL, folder)
    assert {problem.key for problem in found} == {
        "cluster.api_key_file",
        "cluster.tls.server_ca",
        "cluster.tls.client_cert",
    }
    assert all("must be a file" in problem.remedy for problem in found)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (f'[cluster]\napi_key_file = "LONG"\n{POOL}', "cluster.api_key_file"),
        (f'[cluster.embedded]\ndatabase = "/LONG/dev.db"\n{POOL}', "cluster.embedded.database"),
        (f'{POOL}path = "LONG"\n', "pools.orders.path"),
    ],
    ids=["file", "database", "folder"],
)
def test_what_cannot_even_be_looked_at_is_told(folder: Path, text: str, key: str) -> None:
    """As where a folder on the way may not be entered; but root may enter each."""
    problem = only_problem(text.replace("LONG", "n" * 300), folder)
    assert problem.key == key
    assert "cannot be looked at (File name too long)" in problem.remedy


@pytest.mark.parametrize("key", ["run_dir", "state_dir", "log_dir"])
def test_a_folder_of_the_fleet_is_a_folder(folder: Path, key: str) -> None:
    problem = only_problem(f'[fleet]\n{key} = "ca.pem/here"\n{POOL}', folder)
    assert (problem.key, problem.line) == (f"fleet.{key}", 2)
    assert problem.remedy == f"must be a folder, and {folder / 'ca.pem'} is none"


def test_a_run_dir_is_of_its_own(folder: Path) -> None:
    """It is closed to everybody else."""
    text = f'[fleet]\nrun_dir = "."\n{POOL}'
    assert "must be a folder of its own" in only_problem(text, folder).remedy
    (folder / "lock").touch()
    read(text, folder)


def test_a_size_that_no_host_has_is_refused() -> None:
    problem = only_problem(f'[fleet]\nlog_size = "999999999TiB"\n{POOL}')
    assert (problem.key, problem.remedy) == ("fleet.log_size", 'must be at most "1024TiB"')


@pytest.mark.parametrize("name", ["agent", "supervisor", "fork-server", "dev-server"])
def test_no_pool_is_named_like_a_process_of_the_fleet(name: str) -> None:
    problem = only_problem(f'{POOL}[pools.{name}]\nprogram = "b"\ntask_queue = "orders"\n')
    assert problem.key == f"pools.{name}"


def test_a_file_that_this_user_cannot_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The tests may run as root, who can read everything.
    monkeypatch.setattr("os.access", lambda path, mode: False)
    problem = only_problem(f'[cluster]\napi_key_file = "api-key"\n{POOL}', folder)
    assert "must be readable" in problem.remedy


@pytest.mark.parametrize(
    ("other", "allowed"),
    [
        ("orders-1", False),
        ("orders-12", False),
        ("orders-x", True),
        ("orders-01", True),
        ("orders-0", True),
        ("orders-v-2", True),
        ("orders_1", True),
        ("billing-1", True),
    ],
)
def test_no_pool_is_named_like_anothers_entity(other: str, allowed: bool) -> None:
    text = f'{POOL}[pools.{other}]\nprogram = "b"\ntask_queue = "orders"\n'
    if allowed:
        assert set(read(text).pools) == {"orders", other}
    else:
        assert "another name" in only_problem(text).remedy


@pytest.mark.parametrize("name", ["", "Orders", "-a", "_a", "a.b", "a b", "ä", "a" * 49, "a/b", "a\\n"])
def test_the_name_of_a_pool_is_plain(name: str) -> None:
    assert "[pools.orders]" in only_problem(f'[pools."{name}"]\nprogram = "a"\ntask_queue = "a"\n').remedy


@pytest.mark.parametrize(
    ("keys", "wrong"),
    [
        ("rollout = { max_surge = 0 }", "rollout.max_surge"),
        ("rollout = { max_surge = 0, max_unavailable = 1 }", None),
        ('restart = { backoff = "31s" }', "restart.backoff"),
        ('restart = { backoff = "10s", backoff_max = "9s" }', "restart.backoff"),
        ('restart = { backoff = "10s", backoff_max = "10s" }', None),
        ("restart = { max_restarts = 0 }", None),
        ("workers = []", "workers"),
        ('memory = { evict_above = "300MiB", recycle_above = "400MiB", kill_above = "500MiB" }', None),
        ('memory = { evict_above = "300MiB", kill_above = "400MiB" }', None),
        ('memory = { evict_above = "500MiB", recycle_above = "400MiB" }', "memory.evict_above"),
        ('memory = { evict_above = "1GiB", kill_above = "1024MiB" }', "memory.evict_above"),
        (
            'memory = { evict_above = "300MiB", recycle_above = "500MiB", kill_above = "400MiB" }',
            "memory.recycle_above",
        ),
        ("memory = {}", None),
        ('workers = ["nexus", "nexus"]', "workers"),
        ("worker = { max_concurrent_workflow_tasks = 1 }", "worker.max_concurrent_workflow_tasks"),
        ("worker = { max_concurrent_workflow_tasks = 1, max_cached_workflows = 0 }", None),
        (
            "worker = { max_concurrent_workflow_task_polls = 1, max_cached_workflows = 1 }",
            "worker.max_concurrent_workflow_task_polls",
        ),
        (
            "worker = { disable_eager_activity_execution = true, "
            "max_eager_activity_reservations_per_workflow_task = 3 }",
            "worker.max_eager_activity_reservations_per_workflow_task",
        ),
        (
            'worker = { default_heartbeat_throttle_interval = "61s" }',
            "worker.default_heartbeat_throttle_interval",
        ),
        (
            'worker = { default_heartbeat_throttle_interval = "61s", '
            'max_heartbeat_throttle_interval = "2m" }',
            None,
        ),
        (
            'workers = ["activity"]\nworker = { no_remote_activities = true }',
            "worker.no_remote_activities",
        ),
        ('workers = ["activity", "workflow"]\nworker = { no_remote_activities = true }', None),
        ("entities = 0", None),
        ("entities = 1001", "entities"),
        ('path = "no-such-folder"', "path"),
    ],
)
def test_keys_of_a_pool_beside_each_other(keys: str, wrong: str | None) -> None:
    found = problems(f"{POOL}{keys}\n")
    assert [problem.key for problem in found] == ([f"pools.orders.{wrong}"] if wrong else [])


def test_no_limit_of_one_entity_is_above_the_budget_of_all() -> None:
    text = '[fleet]\nmemory_budget = "{}"\n' + POOL + 'memory = {{ evict_above = "300MiB" }}\n'
    assert problems(text.format("300MiB")) == ()
    problem = only_problem(text.format("200MiB"))
    assert (problem.key, problem.line) == ("pools.orders.memory.evict_above", 6)
    assert '[fleet] memory_budget, "200MiB"' in problem.remedy


def test_two_pools_may_share_a_task_queue() -> None:
    pools = read(f'{POOL}[pools.more]\nprogram = "shop.more"\ntask_queue = "orders"\n').pools
    assert pools["orders"].task_queue == pools["more"].task_queue


def test_a_run_dir_too_long_for_sockets_is_told_with_its_remedy() -> None:
    problem = only_problem(f'[fleet]\nrun_dir = "/tmp/{"x" * 100}"\n{POOL}')
    assert problem.key == "fleet.run_dir"
    assert problem.line == 2
    assert "shorter folder" in problem.remedy


@pytest.mark.parametrize(
    ("program", "right"),
    [
        ("shop", True),
        ("shop.orders", True),
        ("shop.orders:make", True),
        ("Läden.größe", True),
        ("shop.orders:", False),
        (":make", False),
        ("shop..orders", False),
        (".orders", False),
        ("shop.orders:make.it", False),
        ("shop.orders:make:it", False),
        ("shop orders", False),
        ("shop.class", False),
        ("shop-orders", False),
        ("orders.py", False),
        ("", False),
    ],
)
def test_a_program_is_a_module_or_module_and_attribute(program: str, right: bool) -> None:
    found = problems(f'[pools.a]\nprogram = "{program}"\ntask_queue = "a"\n')
    assert [problem.key for problem in found] == ([] if right else ["pools.a.program"])


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("localhost:7233", True),
        ("10.0.0.1:1", True),
        ("[::1]:7233", True),
        ("localhost", False),
        (":7233", False),
        ("localhost:0", False),
        ("localhost:65536", False),
        ("::1:7233", False),
        ("grpc://localhost:7233", False),
        ("a b:7233", False),
    ],
)
def test_an_address_is_host_and_port(address: str, right: bool) -> None:
    found = problems(f'[cluster]\naddress = "{address}"\n{POOL}')
    assert [problem.key for problem in found] == ([] if right else ["cluster.address"])


@pytest.mark.parametrize("task_queue", ["", " ", " a", "a ", "a\\nb", "/_sys/a", "a" * 1001])
def test_a_task_queue_has_a_name_that_the_cluster_takes(task_queue: str) -> None:
    assert (
        only_problem(f'[pools.a]\nprogram = "a"\ntask_queue = "{task_queue}"\n').key == "pools.a.task_queue"
    )
