"""`resources` of a pool and `[fleet] gpus`: what they take, and what no host of this kind could give."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.protocol.spec import Limits
from temporal_fleet.supervisor.config.host import (
    CAPABILITIES,
    Access,
    Account,
    Host,
    account,
    refused,
    this_host,
)
from temporal_fleet.supervisor.config.pools import core_pools
from temporal_fleet.supervisor.config.reader import Config, ConfigError, Problem, parse
from temporal_fleet.supervisor.config.specs import program_spec
from temporal_fleet.supervisor.config.units import format_cpus, parse_cpus
from temporal_fleet.supervisor.core.differences import made_of_differences
from temporal_fleet.supervisor.core.fleet import Gpus
from tests.config.files import ENVIRON, FOLDER, POOL

WORKER = Account("worker", 1001, 1001, (1001, 44), "/home/worker")


def nobody_is_refused(_user: Account, _wanted: Sequence[Access]) -> list[Path]:
    return []


HOST = Host(
    cpus=frozenset(range(4)),
    memory=8 << 30,
    open_files=4096,
    lowest_nice=0,
    uid=0,
    capabilities=frozenset(CAPABILITIES),
    account=lambda name: WORKER if name == "worker" else None,
    refused=nobody_is_refused,
)


def read(text: str, host: Host | None = HOST) -> Config:
    return parse(text, FOLDER / "fleet.toml", ENVIRON, host)


def problems(text: str, host: Host | None = HOST) -> tuple[Problem, ...]:
    try:
        read(text, host)
    except ConfigError as error:
        return error.problems
    return ()


def pool(resources: str, host: Host | None = HOST) -> tuple[Problem, ...]:
    return problems(f"{POOL}resources = {{ {resources} }}\n", host)


ALL = (
    "[fleet]\ngpus = [0, 1, 3]\n"
    f"{POOL}entities = 2\n"
    'resources = { gpus = 1, cpus = "0,2-3", nice = 5, open_files = 4096, memory_max = "1GiB", '
    'user = "worker" }\n'
)


def test_everything_that_can_be_said() -> None:
    config = read(ALL)
    assert config.fleet.gpus == (0, 1, 3)
    assert config.pools["orders"].resources.gpus == 1
    spec = program_spec(config, "orders")
    assert spec.limits == Limits(cpus=(0, 2, 3), nice=5, open_files=4096, memory_max=1 << 30, user="worker")
    assert spec.env == {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": ""}
    assert core_pools(config, None)["orders"].gpus == Gpus(1, (0, 1, 3))
    plain = read(POOL)
    assert program_spec(plain, "orders").limits == Limits()
    assert program_spec(plain, "orders").env == {}
    assert core_pools(plain, None)["orders"].gpus == Gpus()


@pytest.mark.parametrize(
    ("resources", "key", "remedy"),
    [
        ("gpu = 1", "gpu", "did you mean gpus?"),
        ("gpus = -1", "gpus", "at least 0"),
        ('cpus = "3-0"', "cpus", 'the lower CPU of a range first: "0-3"'),
        ('cpus = "0..3"', "cpus", '"0,2,4-7"'),
        ("cpus = 2", "cpus", "must be a string"),
        ('cpus = ""', "cpus", "0-3"),
        ("nice = 20", "nice", "at most 19"),
        ("open_files = 3", "open_files", "at least 64"),
        ('memory_max = "64MiB"', "memory_max", 'at least "128MiB"'),
        ("memory_max = 1024", "memory_max", "must be a string with a unit"),
        ('user = ""', "user", "must be a name"),
    ],
)
def test_single_values_that_cannot_be(resources: str, key: str, remedy: str) -> None:
    (problem,) = pool(resources, None)
    assert problem.key == f"pools.orders.resources.{key}"
    assert problem.line == 4
    assert remedy in problem.remedy


@given(st.sets(st.integers(0, 9999), min_size=1))
def test_a_list_of_cpus_reads_back(cpus: set[int]) -> None:
    text = format_cpus(cpus)
    assert parse_cpus(text) == tuple(sorted(cpus))


def test_all_that_a_host_does_not_have_is_told_at_once_each_with_its_place() -> None:
    wants = (
        f'{POOL}[pools.orders.resources]\ncpus = "2-5"\nnice = -1\nopen_files = 65536\n'
        'memory_max = "9GiB"\nuser = "wroker"\n'
    )
    found = {problem.key.rpartition(".")[2]: problem for problem in problems(wants)}
    assert [problem.line for problem in found.values()] == [5, 6, 7, 8, 9]
    assert 'CPU 4-5 is not there for this process, which may run on "0-3"' in found["cpus"].remedy
    assert "must be at least 0" in found["nice"].remedy
    assert "must be at most 4096" in found["open_files"].remedy
    assert "LimitNOFILE=" in found["open_files"].remedy
    assert '"8GiB"' in found["memory_max"].remedy
    assert "useradd --system wroker" in found["user"].remedy
    assert problems(wants, None) == (), "nobody asked what a host has"


def test_another_user_takes_the_rights_of_root() -> None:
    mere = replace(HOST, uid=1000, capabilities=frozenset({"CAP_KILL"}))
    (problem,) = pool('user = "worker"', mere)
    assert "run the fleet as root" in problem.remedy
    assert "CAP_SETUID CAP_SETGID CAP_CHOWN CAP_DAC_OVERRIDE" in problem.remedy
    assert pool('user = "worker"', replace(mere, uid=WORKER.uid)) == (), "its own needs none"


def test_what_a_user_cannot_come_to_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "api-key").write_text("key")
    strict = replace(HOST, refused=lambda user, wanted: [path for path, _ in wanted])
    told = problems(
        f'[fleet]\nrun_dir = "{tmp_path}/run"\n[cluster]\napi_key_file = "{tmp_path}/api-key"\n'
        f'{POOL}resources = {{ user = "worker" }}\n',
        strict,
    )
    assert {problem.key for problem in told} == {"pools.orders.resources.user"}
    remedies = "\n".join(problem.remedy for problem in told)
    assert f"worker cannot enter {tmp_path}, where [fleet] run_dir stands" in remedies
    assert f"worker cannot read {FOLDER}, where its program is imported from" in remedies
    assert f"worker cannot read {tmp_path}/api-key" in remedies
    assert "install temporal-fleet where that user can" in remedies
    long = f'[fleet]\nrun_dir = "/tmp/{"x" * 89}"\n{POOL}resources = {{ user = "worker" }}\n'
    assert [problem.key for problem in problems(long)] == ["fleet.run_dir"]


GPU_POOLS = """\
[fleet]
gpus = {gpus}
[pools.orders]
program = "shop.orders"
task_queue = "orders"
entities = 2
resources = {{ gpus = 1 }}
{orders}
[pools.billing]
program = "shop.billing"
task_queue = "billing"
entities = 1
resources = {{ gpus = 2 }}
{billing}
"""
NO_SURGE = "rollout = { max_surge = 0, max_unavailable = 1 }"


@pytest.mark.parametrize(
    ("gpus", "orders", "billing", "needed"),
    [
        ([0, 1, 2, 3, 4, 5], "", "", None),
        ([0, 1, 2, 3, 4], "", "", 6),
        ([0, 1, 2, 3, 4], "", NO_SURGE, None),
        ([0, 1, 2, 3], NO_SURGE, NO_SURGE, None),
        ([0, 1, 2], NO_SURGE, NO_SURGE, 4),
        ([], NO_SURGE, NO_SURGE, 4),
    ],
)
def test_the_gpus_are_enough_for_all_entities_and_for_one_roll(
    gpus: list[int], orders: str, billing: str, needed: int | None
) -> None:
    found = problems(GPU_POOLS.format(gpus=gpus, orders=orders, billing=billing), None)
    if needed is None:
        assert found == ()
        return
    (problem,) = found
    assert f"the pools take {needed} of [fleet] gpus (orders 2 x 1, billing 1 x 2" in problem.remedy
    assert f"which lists {len(gpus)}" in problem.remedy
    if orders == "":
        assert NO_SURGE in problem.remedy
    assert (problem.key, problem.line) == (("fleet.gpus", 2) if gpus else ("pools.orders.resources.gpus", 7))


def test_gpus_are_named_once_and_by_the_fleet_alone() -> None:
    (twice,) = problems(f"[fleet]\ngpus = [0, 0]\n{POOL}")
    assert "each GPU once" in twice.remedy
    both = (
        f'[fleet]\ngpus = [0, 1]\n{POOL}resources = {{ gpus = 1 }}\nenv = {{ CUDA_VISIBLE_DEVICES = "0" }}\n'
    )
    (problem,) = problems(both)
    assert problem.key == "pools.orders.env.CUDA_VISIBLE_DEVICES"


def test_a_change_of_resources_replaces_and_is_told_by_its_keys() -> None:
    before = core_pools(read(ALL), None)["orders"]
    for text, told in (
        (ALL.replace("nice = 5", "nice = 6"), "resources.nice 5 -> 6"),
        (ALL.replace("1GiB", "2GiB"), "resources.memory_max 1GiB -> 2GiB"),
        (ALL.replace("0,2-3", "0-1"), "resources.cpus 0,2-3 -> 0-1"),
        (ALL.replace(', user = "worker"', ""), "resources.user worker -> unset"),
        (ALL.replace("[0, 1, 3]", "[0, 1, 2, 3]"), "[fleet] gpus 0 1 3 -> 0 1 2 3"),
    ):
        after = core_pools(read(text), None)["orders"]
        assert after.version != before.version
        assert made_of_differences(before, after) == told
    plain = core_pools(read(POOL), None)["orders"]
    assert plain == core_pools(read(f"[fleet]\ngpus = [0]\n{POOL}"), None)["orders"]


def test_this_host_is_looked_at() -> None:
    host = this_host()
    assert host.cpus == os.sched_getaffinity(0)
    assert host.memory > 1 << 28
    assert host.open_files >= 256
    assert host.account("no-such-user") is None
    assert problems(f'{POOL}resources = {{ cpus = "{min(host.cpus)}", nice = 19 }}\n', host) == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look through another user's eyes")
def test_a_folder_is_looked_at_with_the_eyes_of_the_user(tmp_path: Path) -> None:
    nobody = account("nobody")
    assert nobody is not None
    (tmp_path / "closed").mkdir(mode=0o700)
    wanted = [(Path("/usr"), os.R_OK | os.X_OK), (tmp_path / "closed", os.X_OK), (Path("/none"), os.R_OK)]
    assert refused(nobody, wanted) == [tmp_path / "closed", Path("/none")]
    assert os.geteuid() == 0
