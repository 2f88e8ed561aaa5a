"""Every message of the protocol, and how to make one of each with any content."""

import types
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from hypothesis import strategies as st

from temporal_fleet.protocol import control, helpers, messages

SOCKETS: dict[str, Any] = {
    "bus, from entities": messages.EntityMessage,
    "bus, to entities": messages.SupervisorMessage,
    "to a fork server": helpers.ToForkServer,
    "from a fork server": helpers.FromForkServer,
    "to the agent": helpers.ToAgent,
    "from the agent": helpers.FromAgent,
    "to the web server": helpers.ToWeb,
    "from the web server": helpers.FromWeb,
    "control, requests": control.ControlRequest,
    "control, replies": control.ControlReply,
    "events": control.Event,
}


def members(union: Any) -> tuple[type[msgspec.Struct], ...]:
    return get_args(union) or (union,)


MESSAGES = [(union, kind) for union in SOCKETS.values() for kind in members(union)]

_PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False),
    str: st.text(max_size=40),
    bool: st.booleans(),
    bytes: st.binary(max_size=40),
    type(None): st.none(),
}


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type that the wire can carry."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in {Union, types.UnionType}:
        return st.one_of([values(argument) for argument in arguments])
    if origin is Annotated:
        return _bounded(hint)
    if origin is list:
        return st.lists(values(arguments[0]), max_size=4)
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=4).map(tuple)
    if origin is dict:
        return st.dictionaries(values(arguments[0]), values(arguments[1]), max_size=4)
    if issubclass(hint, Enum):
        return st.sampled_from(hint)
    assert issubclass(hint, msgspec.Struct), hint
    fields = {
        name: values(of)
        for name, of in get_type_hints(hint, include_extras=True).items()
        if name in hint.__struct_fields__
    }
    return st.builds(hint, **fields)


def _bounded(hint: Any) -> st.SearchStrategy[Any]:
    """Any value within the bounds that a type is annotated with."""
    of, meta = get_args(hint)
    least = meta.ge if meta.gt is None else meta.gt + 1
    if of is str:
        return st.text(max_size=meta.max_length)
    if of is float:
        return st.floats(least, meta.le, allow_nan=False)
    assert of is int, hint
    return st.integers(least, 2**63 - 1 if meta.le is None else meta.le)
