"""The JSON Schema of fleet.toml, for editors and for `check --schema`. Rules between keys are not in it."""

from typing import Any, Final

from temporal_fleet.supervisor.config.settings import FleetFile

_FILLED_IN: Final = {
    "FleetFile": {"fleet", "cluster"},
    "Fleet": {"name", "run_dir", "state_dir"},
    "Embedded": {"ui_port"},
    "Pool": {"path"},
}
"""Fields without a default in the models that a file may leave out all the same."""


def schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of the file."""
    document: dict[str, Any] = _without_null(FleetFile.model_json_schema())
    tables = {"FleetFile": document, **document["$defs"]}
    for name, fields in _FILLED_IN.items():
        table = tables[name]
        table["required"] = [key for key in table["required"] if key not in fields]
    document["required"] = ["pools"]
    document["properties"]["pools"] |= {"minProperties": 1, "additionalProperties": False}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **document,
        "title": "fleet.toml of temporal-fleet",
    }


def _without_null(node: Any) -> Any:
    """TOML has no null: what is not set is left out."""
    if isinstance(node, list):
        return [_without_null(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {
        key: _without_null(value) for key, value in node.items() if not (key == "default" and value is None)
    }
    choices = [choice for choice in node.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        return {**choices[0], **rest}
    return node
