"""The effective config as TOML, with every default, for `check --show`. It reads back as the same config."""

from collections.abc import Mapping
from typing import Any

from temporal_fleet.supervisor.config.settings import Config


def show(config: Config) -> str:
    """Every key with its value; a key without one stands in a comment. Shows `env` as it is: it is for
    the operator's eyes, not for a log."""
    import tomlkit
    from tomlkit.items import Table

    def table(values: Mapping[str, Any], *, is_super: bool = False) -> Table:
        made = tomlkit.table(is_super_table=is_super)
        for key, value in values.items():
            if value is None:
                made.add(tomlkit.comment(f"{key} is not set"))
            elif not isinstance(value, Mapping):
                made.add(key, value)
        for key, value in values.items():
            if isinstance(value, Mapping):
                made.add(key, table(value))
        return made

    tree = config.model_dump(mode="json")
    document = tomlkit.document()
    document.add("fleet", table(tree["fleet"]))
    document.add("cluster", table(tree["cluster"]))
    document.add("pools", table(tree["pools"], is_super=True))
    return tomlkit.dumps(document)
