"""What is wrong with a config: each problem with its place and what would be right, in plain language.

How problems are found does not belong here, only how they are said.
"""

import difflib
import json
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from temporal_fleet.supervisor.config.places import Key
from temporal_fleet.supervisor.config.values import REFUSED
from temporal_fleet.supervisor.config.worker_options import WorkerOptions, why_refused

_WIDEST_VALUE: Final = 60
_MOST_NAMED: Final = 15
_KEY_MARK: Final = "[key]"
"""What pydantic appends to the location of a key (not its value) that is wrong."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong, where, and what would be right."""

    key: str
    """Dotted, as in `pools.orders.entities`; empty when the whole file is meant."""
    remedy: str
    """What would be right."""
    value: str | None = None
    """What stands there, as TOML would write it; None when there is nothing, or when it may be a secret."""
    file: Path | None = None
    """None when there is no file, but command line options."""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        key = self.key if self.value is None else f"{self.key} = {self.value}"
        return ": ".join(part for part in (place, key, self.remedy) if part)


class ConfigError(Exception):
    """A config that cannot be used, with every problem it has."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(key: Key) -> str:
    """`pools.orders.workers[1]`; a part that is no bare TOML key stands in quotes."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            bare = part.isascii() and part.replace("-", "").replace("_", "").isalnum()
            text += ("." if text else "") + (part if bare else json.dumps(part, ensure_ascii=False))
    return text


def shown(key: Key, value: Any) -> str | None:
    """A value as TOML would write it, cut to what a line can hold; None for the secrets of `env`."""
    if "env" in key:
        return None
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    return text if len(text) <= _WIDEST_VALUE else text[: _WIDEST_VALUE - 1] + "…"


def explain(error: ErrorDetails, model: type[BaseModel]) -> tuple[Key, str | None, str]:
    """Key, value and remedy of one validation error of pydantic's."""
    key: Key = tuple(error["loc"])
    kind = error["type"]
    about_key = kind == REFUSED and key[-1] == _KEY_MARK
    if about_key:
        key = key[:-1]
    if kind == "extra_forbidden":
        return key, None, _unknown(key, model)
    if kind == "missing":
        return key, None, f"is missing: set it{_such_as(key, model)}"
    value = None if about_key else shown(key, error["input"])
    if kind == REFUSED:
        return key, value, error["msg"]
    context: Mapping[str, Any] = error.get("ctx", {})
    sentence = _SENTENCES.get(kind)
    if sentence is None:
        return key, value, f"cannot be read: {error['msg']}"
    return key, value, sentence(context) + ("" if kind in _COMPLETE else _such_as(key, model))


def _one_of(context: Mapping[str, Any]) -> str:
    return f"must be one of {str(context['expected']).replace(chr(39), chr(34))}"


_SENTENCES: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "int_type": lambda _: "must be a whole number",
    "bool_type": lambda _: "must be true or false",
    "string_type": lambda _: "must be a string",
    "float_type": lambda _: "must be a number",
    "finite_number": lambda _: "must be a finite number",
    "tuple_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a table",
    "model_type": lambda _: "must be a table",
    "greater_than": lambda context: f"must be more than {context['gt']:g}",
    "greater_than_equal": lambda context: f"must be at least {context['ge']}",
    "less_than_equal": lambda context: f"must be at most {context['le']}",
    "literal_error": _one_of,
}
_COMPLETE: Final = {
    *("dict_type", "model_type", "literal_error"),
    *("greater_than", "greater_than_equal", "less_than_equal"),
}
"""Sentences that need no example."""


def _unknown(key: Key, model: type[BaseModel]) -> str:
    name = str(key[-1])
    table = _model_at(key[:-1], model)
    if table is WorkerOptions:
        reason = why_refused(name)
        if reason is not None:
            return reason
        what = "is no option of the SDK's Worker()"
    else:
        what = "is no key of this table" if len(key) > 1 else "is no table of this file"
    fields = list(table.model_fields) if table is not None else []
    close = difflib.get_close_matches(name, fields, n=1)
    if close:
        return f"{what}; did you mean {close[0]}?"
    if len(fields) > _MOST_NAMED:
        return f"{what}; `temporal-fleet check --schema` lists those there are"
    return f"{what}; there are {', '.join(fields)}"


def _such_as(key: Key, model: type[BaseModel]) -> str:
    field = _field_at(key, model)
    if field is None or not field.examples:
        return ""
    example = field.examples[0]
    if isinstance(key[-1], int):
        example = example[0]
    return f", such as {json.dumps(example)}"


def _field_at(key: Key, model: type[BaseModel]) -> FieldInfo | None:
    """The field that a key path leads to, or that holds the list element that it leads to."""
    while key and isinstance(key[-1], int):
        key = key[:-1]
    table = _model_at(key[:-1], model)
    return table.model_fields.get(str(key[-1])) if key and table is not None else None


def _model_at(key: Key, model: type[BaseModel]) -> type[BaseModel] | None:
    at: Any = model
    for part in key:
        if isinstance(at, type) and issubclass(at, BaseModel):
            field = at.model_fields.get(str(part))
            at = _bare(field.annotation) if field is not None else None
        elif get_origin(at) is dict:
            at = _bare(get_args(at)[1])
        else:
            return None
    return at if isinstance(at, type) and issubclass(at, BaseModel) else None


def _bare(annotation: Any) -> Any:
    """An annotation without `| None`."""
    if get_origin(annotation) in {Union, types.UnionType}:
        return next(choice for choice in get_args(annotation) if choice is not type(None))
    return annotation
