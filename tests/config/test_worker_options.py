"""Our table of Worker() options beside the SDK's own signature."""

import inspect
from datetime import timedelta
from typing import Any

import pytest
from temporalio.worker import Worker

from temporal_fleet.supervisor.config.schema import schema
from temporal_fleet.supervisor.config.worker_options import (
    CODE_ONLY,
    DEFAULT_CACHED_WORKFLOWS,
    DEFAULT_MAX_HEARTBEAT_THROTTLE,
    OWNED,
    WorkerOptions,
    why_refused,
)
from tests.config.files import POOL, only_problem, read

SIGNATURE = {
    name: parameter
    for name, parameter in inspect.signature(Worker.__init__).parameters.items()
    if name != "self"
}
TYPES = {
    "int": "integer",
    "int | None": "integer",
    "float": "number",
    "float | None": "number",
    "bool": "boolean",
    "timedelta": "string",
}
"""The SDK's annotation of what TOML can say -> the JSON type that we take for it."""

SHAPES: dict[str, Any] = schema()["$defs"]["WorkerOptions"]["properties"]


def test_each_option_of_the_sdk_is_settable_ours_or_codes_alone_and_no_other() -> None:
    settable = set(WorkerOptions.model_fields)
    assert settable | set(OWNED) | CODE_ONLY == set(SIGNATURE), "the SDK gained or lost an option"
    assert len(settable) + len(OWNED) + len(CODE_ONLY) == len(SIGNATURE)


@pytest.mark.parametrize("name", sorted(WorkerOptions.model_fields))
def test_each_settable_option_has_the_sdks_type(name: str) -> None:
    assert SHAPES[name]["type"] == TYPES[str(SIGNATURE[name].annotation)], "the SDK retyped an option"
    assert (SHAPES[name]["type"] == "string") == ("pattern" in SHAPES[name])


@pytest.mark.parametrize("name", sorted(CODE_ONLY))
def test_what_only_code_can_give_still_is_no_plain_value(name: str) -> None:
    assert str(SIGNATURE[name].annotation) not in TYPES, "TOML could say this one now"
    assert "factory" in only_problem(f"{POOL}worker = {{ {name} = 1 }}\n").remedy


@pytest.mark.parametrize("name", sorted(OWNED))
def test_what_is_ours_is_refused_with_what_to_use_instead(name: str) -> None:
    assert OWNED[name] in only_problem(f"{POOL}worker = {{ {name} = 1 }}\n").remedy
    assert why_refused(name)


def test_the_defaults_that_our_rules_build_on_are_the_sdks() -> None:
    assert SIGNATURE["max_cached_workflows"].default == DEFAULT_CACHED_WORKFLOWS
    longest = SIGNATURE["max_heartbeat_throttle_interval"].default
    assert longest == timedelta(seconds=DEFAULT_MAX_HEARTBEAT_THROTTLE)


WRONG = {
    "integer": ["0", "-1", "1.5", '"5"', "true", "1000001", "9999999999999999999999"],
    "number": ["0", "-1", '"5"', "true", "nan", "inf"],
    "boolean": ["1", '"true"'],
    "string": ["10", '"10"', '"0s"', "true"],
}


@pytest.mark.parametrize("name", sorted(WorkerOptions.model_fields))
def test_what_is_mistyped_or_out_of_range_is_refused(name: str) -> None:
    for value in WRONG[SHAPES[name]["type"]]:
        if (name, value) == ("max_cached_workflows", "0"):
            continue  # The one count that may be nothing.
        problem = only_problem(f"{POOL}worker = {{ {name} = {value} }}\n")
        assert problem.key == f"pools.orders.worker.{name}"
        assert problem.remedy.startswith(("must", "needs a unit"))


def test_only_what_is_set_is_handed_on() -> None:
    pool = read(f'{POOL}worker = {{ max_cached_workflows = 0, max_heartbeat_throttle_interval = "2m" }}\n')
    given = pool.pools["orders"].worker.given()
    assert given == {"max_cached_workflows": 0, "max_heartbeat_throttle_interval": 120.0}
