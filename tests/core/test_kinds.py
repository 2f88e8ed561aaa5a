"""The kinds of event: every one that may be told stands in the table."""

from typing import get_args

from temporal_fleet.supervisor.core.kinds import KINDS, EventKind


def test_the_table_has_every_kind_that_may_be_told() -> None:
    assert list(KINDS) == list(get_args(EventKind))
    assert all(telling.when.endswith(".") and telling.levels for telling in KINDS.values())
