"""The reference of fleet.toml: every key of the models, with its type, default and bounds, and what a reload
does about it, as the very code tells that carries reloads out."""

import json
import types
from collections.abc import Iterator, Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from docs.generators.markdown import code
from temporal_fleet.supervisor.config import values
from temporal_fleet.supervisor.config.pools import core_pools
from temporal_fleet.supervisor.config.schema import schema
from temporal_fleet.supervisor.config.settings import Config, FleetFile
from temporal_fleet.supervisor.config.units import format_duration, format_size
from temporal_fleet.supervisor.core.differences import live_settings
from temporal_fleet.supervisor.shell.configuration import fixed_settings, followed_settings

Key = tuple[str, ...]

POOL: Final = "NAME"
"""The pool that stands for all of them."""

_HEAD: Final = """\
# Configuration

Every key of `fleet.toml`. Durations (`"250ms"`, `"30s"`, `"1m30s"`) and sizes (`"400MiB"`) are strings, and
a path is relative to the file's folder (that of the embedded database to `state_dir`). Unknown keys are
errors, and all errors are reported at once, each with its place:

```sh
temporal-fleet check
temporal-fleet check --show
```

`check --show` prints every key with the value that it has, and `check --schema` a JSON Schema for editors.
`temporal-fleet init` writes a commented file.

What a reload does about a changed key is said for each of them. "At once": it is followed as things run,
and nothing restarts. "By a roll": the entities that it concerns are [replaced one by
one](../concepts.md#changes). What only a new supervisor can change is refused by a reload, and nothing else
of the file is followed then either.
"""


class Change(Enum):
    """What a reload does about a key, in the words of the page."""

    AT_ONCE = "at once"
    ENTITIES = "at once: entities are started, or drain"
    ROLL = "by a roll of the pool"
    ROLL_OF_ALL = "by a roll of all pools"
    ROLL_OF_GPUS = "by a roll of the pools that have GPUs"
    NEVER = "refused: stop the fleet and start it again"


_NOUNS: Final = {
    values.Program: "`module` or `module:attribute`",
    values.Reference: "`module:attribute`",
    values.Address: "`host:port`",
    values.HttpAddress: "`host:port`",
    values.FleetName: "name of 1 to 63 letters, digits, `_`, `.` and `-`",
    values.TaskQueue: "string",
    values.Name: "string without spaces",
    values.EnvironmentName: "string",
    values.EnvironmentValue: "string",
}
_KINDS: Final = {get_args(alias)[1]: noun for alias, noun in _NOUNS.items()}


def page() -> str:
    parts = [_HEAD]
    for path, model in _tables():
        parts.append(_table(path, model))
    return "\n".join(parts)


def every_key() -> Iterator[Key]:
    """Every key that holds a value, `NAME` for that of a pool."""
    for path, model in _tables():
        for name, field in model.model_fields.items():
            if _model_of(field) is None:
                yield (*path, name)


def change(key: Key) -> Change:
    """What a reload does about it. Raises KeyError for one that no part of a reload knows."""
    table, name = key[:-1], key[-1]
    fixed, followed, live, traits = _reload()
    if ".".join(key) in fixed or ".".join(table) in fixed:
        return Change.NEVER
    if table[0] == "pools":
        inner = ".".join(key[2:])
        if inner == "entities":
            return Change.ENTITIES
        if inner in live:
            return Change.AT_ONCE
        if inner in traits or any(trait.startswith(f"{inner}.") for trait in traits):
            return Change.ROLL
        raise KeyError(key)
    if name in followed or key == ("fleet", "memory_budget"):
        return Change.AT_ONCE
    if f"[{'.'.join(table)}] {name}" in traits:
        return Change.ROLL_OF_GPUS if key == ("fleet", "gpus") else Change.ROLL_OF_ALL
    raise KeyError(key)


def example(key: Key) -> str:
    """A line of TOML."""
    model: type[BaseModel] = dict(_tables())[key[:-1]]
    return f"{key[-1]} = {_toml(_example(key, model.model_fields[key[-1]]))}"


def _table(path: Key, model: type[BaseModel]) -> str:
    parts = [f"## [{'.'.join(path)}]\n"]
    about = " ".join((model.__doc__ or "").split())
    _, colon, rest = about.partition("]: ")
    rest = rest if colon else about
    parts.append(f"{rest[:1].upper()}{rest[1:]}\n")
    for name, field in model.model_fields.items():
        if _model_of(field) is None:
            parts.append(_entry((*path, name), field))
    return "\n".join(parts)


def _entry(key: Key, field: FieldInfo) -> str:
    if not field.description:
        raise KeyError(f"{'.'.join(key)} has no description")
    lines = [
        f"### {'.'.join(key)}\n",
        f"{field.description}\n",
        f"- Type: {_type(field.annotation, field.metadata)}",
        f"- Default: {_default(key, field)}",
        f"- A change of it: {change(key).value}",
        f"- Example: {code(example(key))}\n",
    ]
    return "\n".join(lines)


def _tables() -> list[tuple[Key, type[BaseModel]]]:
    """Every table of the file, in its order."""

    def within(path: Key, model: type[BaseModel]) -> Iterator[tuple[Key, type[BaseModel]]]:
        if any(_model_of(field) is None for field in model.model_fields.values()):
            yield path, model
        for name, field in model.model_fields.items():
            inner = _model_of(field)
            if inner is not None:
                place = (*path, name, POOL) if (path, name) == ((), "pools") else (*path, name)
                yield from within(place, inner)

    return list(within((), FleetFile))


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a table; of the pools by name, that of a pool."""
    for each in (field.annotation, *get_args(field.annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _example(key: Key, field: FieldInfo) -> object:
    if not field.examples:
        raise KeyError(f"{'.'.join(key)} has no example")
    return field.examples[0]


@cache
def _reload() -> tuple[set[str], set[str], set[str], set[str]]:
    """The keys that each part of a reload goes by, of a config in which every key is set."""
    tree: dict[str, Any] = {}
    for path, model in _tables():
        table = tree
        for part in path:
            table = table.setdefault(part, {})
        for name, field in model.model_fields.items():
            if _model_of(field) is None:
                table[name] = _example((*path, name), field)
    tree["pools"] = {POOL.lower(): tree["pools"][POOL]}
    file = FleetFile.model_validate(tree, context={"folder": Path("/srv")})
    config = Config(fleet=file.fleet, cluster=file.cluster, pools=file.pools)
    # With an embedded Cluster, its address takes the place of the other one.
    (pool,) = core_pools(config, "localhost:7233").values()
    return (
        {key for key, _, _ in fixed_settings(config, config)},
        {key for key, _, _ in followed_settings(config, config)},
        set(live_settings(pool)),
        set(pool.traits),
    )


def _default(key: Key, field: FieldInfo) -> str:
    if _is_required(key):
        return "none: it must be given"
    if field.is_required() or " Default: " in f" {field.description}":
        return "see above"
    value = field.get_default(call_default_factory=True, validated_data={})
    return "not set" if value is None else code(_toml(value))


def _is_required(key: Key) -> bool:
    return key[:-1] == ("pools", POOL) and key[-1] in _required_of_a_pool()


@cache
def _required_of_a_pool() -> frozenset[str]:
    return frozenset(schema()["$defs"]["Pool"]["required"])


def _type(annotation: object, metadata: list[Any]) -> str:
    """In words, with the bounds."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _type(inner, [*metadata, *_flattened(more)])
    if get_origin(annotation) in {Union, types.UnionType}:
        (one,) = [each for each in get_args(annotation) if each is not types.NoneType]
        return _type(one, metadata)
    for each in metadata:
        if told := _kind(each):
            return told
    if get_origin(annotation) is Literal:
        return " or ".join(code(_toml(each)) for each in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of: {_type(get_args(annotation)[0], [])}"
    if get_origin(annotation) is dict:
        return f"table of: {_type(get_args(annotation)[1], [])}"
    if annotation is bool:
        return "`true` or `false`"
    nouns: Mapping[object, str] = {int: "integer", float: "number"}
    return f"{nouns[annotation]}{_bounds(metadata)}"


def _flattened(metadata: list[Any]) -> list[Any]:
    return [one for each in metadata for one in (each.metadata if isinstance(each, FieldInfo) else [each])]


def _kind(constraint: object) -> str:
    """Of a type of our own; empty for pydantic's."""
    match constraint:
        case values.DurationBetween(minimum=minimum):
            never = f', or `"{values.NEVER}"`' if isinstance(constraint, values.DurationOrNever) else ""
            least = f', at least `"{format_duration(minimum)}"`' if minimum else ""
            return f"duration{least}{never}"
        case values.SizeFrom(minimum=minimum):
            return f'size, at least `"{format_size(minimum)}"`'
        case values.CpuList():
            return "list of CPUs, as a string"
        case values.AbsolutePath():
            return "path"
        case values.Text():
            return _KINDS[constraint]
    return ""


def _bounds(metadata: list[Any]) -> str:
    least = next((f"at least {each.ge}" for each in metadata if isinstance(each, annotated_types.Ge)), "")
    above = next((f"above {each.gt}" for each in metadata if isinstance(each, annotated_types.Gt)), "")
    most = next((f"at most {each.le}" for each in metadata if isinstance(each, annotated_types.Le)), "")
    return "".join(f", {bound}" for bound in (least, above, most) if bound)


def _toml(value: object) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} = {_toml(each)}" for key, each in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(each) for each in value)}]"
    # JSON's strings, numbers and truth values are TOML's.
    return json.dumps(value, ensure_ascii=False)
