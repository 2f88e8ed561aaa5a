"""The types of single values in fleet.toml: durations, sizes, names, references, addresses, paths. What a
value means beside another one does not belong here.

Each refuses with a sentence that says what would be right, and describes itself to the JSON Schema.
Relative paths are relative to `folder` of the validation context, `~/` to its `home`, and
`${CREDENTIALS_DIRECTORY}/` to its `credentials`.
"""

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import PydanticCustomError, core_schema

from temporal_fleet.supervisor.config.units import (
    CPUS_PATTERN,
    DURATION_PATTERN,
    LONGEST,
    SIZE_PATTERN,
    UnitError,
    format_cpus,
    format_duration,
    format_size,
    parse_cpus,
    parse_duration,
    parse_size,
)

CREDENTIALS: Final = "${CREDENTIALS_DIRECTORY}/"
"""How a path in systemd's credential folder begins."""
REFUSED: Final = "refused"
"""The error type of every sentence of our own."""
NEVER: Final = "never"
"""In the place of a duration that there is not."""

_FLEET_NAME: Final = r"^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_POOL_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,47}$"
_ADDRESS: Final = r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):[0-9]{1,5}$"
_MODULE: Final = r"[^\s:/]+"
_ATTRIBUTE: Final = r"[^\s:/.]+"


def refuse(why: str) -> NoReturn:
    raise PydanticCustomError(REFUSED, "{why}", {"why": why})


@dataclass(frozen=True)
class DurationBetween:
    """A duration string, in seconds once read."""

    minimum: float = 0.0
    maximum: float = LONGEST

    def read(self, value: object) -> float:
        try:
            seconds = parse_duration(value)
        except UnitError as error:
            refuse(str(error))
        if seconds < self.minimum:
            refuse(f'must be at least "{format_duration(self.minimum)}"')
        if seconds > self.maximum:
            refuse(f'must be at most "{format_duration(self.maximum)}"')
        return seconds

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(format_duration, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": DURATION_PATTERN, "minLength": 2}


@dataclass(frozen=True)
class DurationOrNever(DurationBetween):
    """A duration string, in seconds once read; "never", infinite once read."""

    def read(self, value: object) -> float:
        if value == NEVER:
            return inf
        if not isinstance(value, str):
            refuse(f'must be a duration, such as "30s", or "{NEVER}"')
        return super().read(value)

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda seconds: NEVER if seconds == inf else format_duration(seconds), when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": f"^{NEVER}$|{DURATION_PATTERN}", "minLength": 2}


_LARGEST = 1 << 50
"""Bytes. More than any host has; and no message holds a number of more than 64 bits."""


@dataclass(frozen=True)
class SizeFrom:
    """A size string, in bytes once read."""

    minimum: int

    def read(self, value: object) -> int:
        try:
            size = parse_size(value)
        except UnitError as error:
            refuse(str(error))
        if size < self.minimum:
            refuse(f'must be at least "{format_size(self.minimum)}"')
        if size > _LARGEST:
            refuse(f'must be at most "{format_size(_LARGEST)}"')
        return size

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(format_size, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": SIZE_PATTERN}


@dataclass(frozen=True)
class Text:
    """A string that `check` passes (it says what would be right, or nothing)."""

    check: Callable[[str], str | None]
    pattern: str

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            refuse("must be a string")
        why = self.check(value)
        if why is not None:
            refuse(why)
        return value

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": self.pattern}


class CpuList:
    """CPUs as taskset(1) lists them, a tuple in ascending order once read."""

    def read(self, value: object) -> tuple[int, ...]:
        try:
            return parse_cpus(value)
        except UnitError as error:
            refuse(str(error))

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(format_cpus, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": CPUS_PATTERN}


def resolved(value: str, context: Mapping[str, Path], base: str = "folder") -> Path:
    """A path of the file, made absolute. `context`: `folder` is the file's, `state` [fleet] state_dir, `home`
    the user's, `credentials` systemd's; what is not in it makes nothing absolute."""
    if value.startswith("~/") and "home" in context:
        return context["home"] / value[2:]
    if value.startswith(CREDENTIALS) and "credentials" in context:
        return context["credentials"] / value.removeprefix(CREDENTIALS)
    return context[base] / value if base in context else Path(value)


class AbsolutePath:
    """A path, made absolute by the context: by its folder, or by another one that it names."""

    def __init__(self, base: str = "folder") -> None:
        self._base = base

    def read(self, value: object, info: ValidationInfo) -> Path:
        if not isinstance(value, str | Path):
            refuse("must be a string with a path")
        if not str(value).strip() or "\0" in str(value):
            refuse("must be a path, not empty")
        return resolved(str(value), info.context or {}, self._base)

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self.read,
            serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"),
        )

    def __get_pydantic_json_schema__(
        self, _schema: core_schema.CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "minLength": 1}


def is_module(text: str) -> bool:
    parts = text.split(".")
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in parts)


def _program(text: str) -> str | None:
    module, colon, attribute = text.partition(":")
    if module.endswith(".py") or "/" in module:
        meant = module.removeprefix("./").removesuffix(".py").strip("/").replace("/", ".")
        remedy = f', such as "{meant}"' if is_module(meant) else ""
        return f"must be a module, not a file{remedy}; `path` names the folder to import it from"
    if not is_module(module) or (colon and not is_module(attribute)) or "." in attribute:
        return 'must be a module or module:attribute, such as "shop.orders" or "shop.orders:plugin"'
    return None


def _reference(text: str) -> str | None:
    module, _, attribute = text.partition(":")
    if not is_module(module) or not is_module(attribute) or "." in attribute:
        return 'must be module:attribute, such as "shop.db:reconnect"'
    return None


def _address(text: str, lowest: int = 1, example: str = "localhost:7233") -> str | None:
    if "://" in text:
        return f'must be host:port without a scheme, such as "{text.split("://", 1)[1].rstrip("/")}"'
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})", text)
    if match is None or not lowest <= int(match[2]) < 65536:
        return f'must be host:port, such as "{example}"'
    return None


def _http_address(text: str) -> str | None:
    return _address(text, 0, "127.0.0.1:9464")


def _fleet_name(text: str) -> str | None:
    if re.fullmatch(_FLEET_NAME, text):
        return None
    return (
        'must be 1 to 63 letters, digits, "_", "." or "-", a letter or digit first and last, such as "shop"'
    )


def _pool_name(text: str) -> str | None:
    if re.fullmatch(_POOL_NAME, text):
        return None
    return (
        "the name of a pool must be 1 to 48 of a-z, 0-9, _ and -, a letter or digit first, "
        "such as [pools.orders]"
    )


def _task_queue(text: str) -> str | None:
    if not text or text != text.strip() or not text.isprintable():
        return 'must be the name of a task queue, not empty and without spaces around it, such as "orders"'
    if len(text.encode()) > 1000:
        return "must be at most 1000 bytes long"
    if text.startswith("/_sys/"):
        return 'must not start with "/_sys/", which the Cluster keeps for itself'
    return None


def _name(text: str) -> str | None:
    return None if text and not re.search(r"\s", text) else "must be a name, not empty and without spaces"


def _environment_name(text: str) -> str | None:
    return None if text and not re.search(r"[=\0]", text) else 'must be a name without "="'


def _environment_value(text: str) -> str | None:
    return None if "\0" not in text else "must hold no NUL character"


Duration = Annotated[float, DurationBetween()]
PositiveDuration = Annotated[float, DurationBetween(minimum=0.001)]
# Below what the smallest interpreter takes: a slip of the hand.
MemorySize = Annotated[int, SizeFrom(minimum=16 << 20)]
# An idle entity takes 72 MiB of private memory.
ProcessMemory = Annotated[int, SizeFrom(minimum=128 << 20)]
Cpus = Annotated[tuple[int, ...], CpuList()]
FileSystemPath = Annotated[Path, AbsolutePath()]
StatePath = Annotated[Path, AbsolutePath("state")]
Program = Annotated[str, Text(_program, rf"^{_MODULE}(:{_ATTRIBUTE})?$")]
Reference = Annotated[str, Text(_reference, rf"^{_MODULE}:{_ATTRIBUTE}$")]
Address = Annotated[str, Text(_address, _ADDRESS)]
HttpAddress = Annotated[str, Text(_http_address, _ADDRESS)]
FleetName = Annotated[str, Text(_fleet_name, _FLEET_NAME)]
PoolName = Annotated[str, Text(_pool_name, _POOL_NAME)]
TaskQueue = Annotated[str, Text(_task_queue, r"^\S(.*\S)?$")]
Name = Annotated[str, Text(_name, r"^\S+$")]
EnvironmentName = Annotated[str, Text(_environment_name, r"^[^=]+$")]
EnvironmentValue = Annotated[str, Text(_environment_value, r"^[^\0]*$")]
