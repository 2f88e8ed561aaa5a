"""`scale` edits the file in place: comments and layout stay."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.edit import set_entities
from temporal_fleet.supervisor.config.reader import ConfigError
from temporal_fleet.supervisor.config.template import template

TABLES = """\
# Our shop.
[pools.orders]   # the main thing
program = 'shop.orders'
entities  =  4   # four is enough
  # indented

[cluster]
address = "a:1"

[pools.billing]
entities = 0x02
[pools.billing.restart]
backoff = "1s"
"""


def test_only_the_number_changes() -> None:
    assert set_entities(TABLES, {"orders": 6}) == TABLES.replace("=  4 ", "=  6 ")
    assert set_entities(TABLES, {"orders": 6, "billing": 0}) == TABLES.replace("=  4 ", "=  6 ").replace(
        "0x02", "0"
    )


@pytest.mark.parametrize(
    "text",
    [
        "[pools]\norders = { program = 'a', entities=4 } # c\n",
        "pools.orders.entities = 4 # c\npools.orders.drain = '1s'\n",
        "[pools]\norders.entities = 4 # c\n",
        '[pools."orders"]\nentities = 4\r\n',
        "pools = { orders = { entities = 4 } }",
    ],
)
def test_every_way_to_write_a_table(text: str) -> None:
    assert set_entities(text, {"orders": 6}) == text.replace("4", "6")


@pytest.mark.parametrize(
    "text",
    [
        "[pools.orders]\nprogram = 'a' # keep\n\n# restarts\n[pools.orders.restart]\nbackoff = '1s'\n",
        "[pools]\norders = { program = 'a' } # keep\n",
        "[pools]\norders.program = 'a' # keep\n\n[fleet]\nname = 'x'\n",
        "pools.orders.program = 'a' # keep\n",
        "[pools.orders] # keep",
        "[pools.orders.restart] # keep\nbackoff = '1s'\n",
        "[pools.orders]\n# keep\n[fleet]\nname = 'x'\n[pools.orders.restart]\nbackoff = '1s'\n",
    ],
)
def test_a_key_that_is_absent_is_added(text: str) -> None:
    after = set_entities(text, {"orders": 6})
    tree = tomllib.loads(text)
    tree["pools"]["orders"]["entities"] = 6
    assert tomllib.loads(after) == tree
    assert "# keep" in after


def test_a_size_that_is_new_stands_with_its_pool() -> None:
    first = '[pools.a] # first\nprogram = "a"\n  task_queue = "q" # the queue\n'
    before = f'{first}\n\n# next\n[pools.b]\ntask_queue = "r"'
    after = set_entities(before, {"a": 5, "b": 7})
    assert after == before.replace("the queue\n", "the queue\n  entities = 5\n") + "\nentities = 7\n"


def test_the_file_of_init_changes_in_one_line() -> None:
    before = template(entities=2)
    after = set_entities(before, {"orders": 16})
    changed = [
        pair for pair in zip(before.splitlines(), after.splitlines(), strict=True) if pair[0] != pair[1]
    ]
    assert len(changed) == 1
    assert changed[0][1].startswith("entities = 16 ")
    assert changed[0][1].endswith("edits this line")


def test_an_unknown_pool_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError) as error:
        set_entities(TABLES, {"ordres": 6, "shop": 1})
    assert [str(problem) for problem in error.value.problems] == [
        "pools.ordres: there is no such pool; there are orders, billing",
        "pools.shop: there is no such pool; there are orders, billing",
    ]
    with pytest.raises(ConfigError, match="there are no pools"):
        set_entities("", {"orders": 6})
    with pytest.raises(ConfigError, match="there are no pools"):
        set_entities("pools = 3", {"orders": 6})


@pytest.mark.parametrize("size", [-1, 1001])
def test_a_number_that_cannot_be_is_told(size: int) -> None:
    with pytest.raises(ConfigError, match=f"pools.orders.entities = {size}: must be at least 0"):
        set_entities(TABLES, {"orders": size})


def test_a_file_that_is_no_toml_is_left_alone() -> None:
    with pytest.raises(ConfigError, match="not valid TOML"):
        set_entities("[pools.orders\n", {"orders": 6})


@given(st.dictionaries(st.sampled_from(["orders", "billing"]), st.integers(0, 1000)))
def test_the_new_sizes_and_nothing_else(sizes: dict[str, int]) -> None:
    tree = tomllib.loads(TABLES)
    for name, size in sizes.items():
        tree["pools"][name]["entities"] = size
    after = set_entities(TABLES, sizes)
    assert tomllib.loads(after) == tree
    assert after.count("#") == TABLES.count("#")
