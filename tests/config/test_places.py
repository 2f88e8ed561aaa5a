import contextlib
import tomllib
from typing import Any

import tomlkit
from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.config.places import Key, Places

TEXT = '''\
# [not.a.table]
title = "a # b = c"  # d = 1
text = """
inside = 1
[neither] \\""" "quotes"
"""
literal = \'\'\'
x = 2\'\'\'
"quoted key".'and "this"' = 1.5

[pools]
orders.program = "x"   # dotted
orders.restart.backoff = "1s"
list = [
  1, # one
  { a = 1, b = [2, 3] },

  "]",
]

  [ pools . "b-2" ] # header
entities = 4
rollout = { max_surge = 1, max_unavailable = 0 }
when = 1979-05-27T07:32:00Z
'''


def test_the_line_of_each_key() -> None:
    tomllib.loads(TEXT)
    places = Places(TEXT)
    lines: dict[Key, int] = {
        ("title",): 2,
        ("text",): 3,
        ("literal",): 7,
        ("quoted key", 'and "this"'): 9,
        ("pools",): 11,
        ("pools", "orders", "program"): 12,
        ("pools", "orders", "restart", "backoff"): 13,
        ("pools", "list"): 14,
        ("pools", "list", 0): 15,
        ("pools", "list", 1, "b"): 16,
        ("pools", "list", 2): 18,
        ("pools", "b-2"): 21,
        ("pools", "b-2", "entities"): 22,
        ("pools", "b-2", "rollout", "max_unavailable"): 23,
        ("pools", "b-2", "when"): 24,
    }
    assert {key: places.line(key) for key in lines} == lines


def test_a_key_that_is_not_there_is_at_its_table() -> None:
    places = Places("a = 1\n\n[pools.orders]\nprogram = 'x'\n")
    assert places.line(("pools", "orders", "task_queue")) == 3
    assert places.line(("pools", "billing")) == 3
    assert places.line(("cluster", "tls")) is None


values = st.recursive(
    st.integers(-99, 99) | st.booleans() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values, max_size=4))
def test_every_key_of_any_text_is_found_on_its_line(tree: dict[str, Any]) -> None:
    text = tomlkit.dumps(tree)
    if not _reads_back(text, tree):
        return  # The writer's own limits (lone surrogates, some control characters) are not our subject.
    places = Places(text)
    lines = text.split("\n")
    for key in _keys(tree):
        line = places.line(key)
        assert line is not None
        name = tomlkit.dumps({str(key[-1]): 0}).split(" = ")[0]
        assert name in lines[line - 1]


def _reads_back(text: str, tree: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == tree
    except tomllib.TOMLDecodeError:
        return False


def _keys(tree: dict[str, Any], above: Key = ()) -> list[Key]:
    found: list[Key] = []
    for key, value in tree.items():
        found.append((*above, key))
        if isinstance(value, dict):
            found += _keys(value, (*above, key))
    return found


@given(st.text("[]{}=,.\"'# \n\tab\\"))
def test_the_scan_ends_whatever_the_text_is(text: str) -> None:
    # A quoted key of a text that is no TOML may be no string either.
    with contextlib.suppress(tomllib.TOMLDecodeError):
        Places(text).line(("a",))
