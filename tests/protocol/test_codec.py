"""A message survives the wire; anything else is the peer's rubbish, and nothing worse."""

import inspect
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal_fleet.protocol import control, helpers, messages
from temporal_fleet.protocol.codec import HEADER, MAGIC, SIZE_LIMIT, VERSION, Decoder, encode
from temporal_fleet.protocol.errors import PeerRubbish, ProtocolMisuse
from temporal_fleet.protocol.messages import Hello
from tests.protocol.wire import MESSAGES, SOCKETS, values

HELLO = encode(Hello(entity="orders-1", incarnation=1, pid=7))
DECODERS: list[Decoder[Any]] = [Decoder(union) for union in SOCKETS.values()]
EVERY_MESSAGE = st.one_of([values(kind) for _, kind in MESSAGES])


def is_message_or_rubbish(decoder: Decoder[Any], frame: bytes) -> bool:
    """Whether it was a message. Any exception but PeerRubbish fails the test that asks."""
    try:
        decoder.decode(frame)
    except PeerRubbish:
        return False
    return True


@pytest.mark.parametrize(("union", "kind"), MESSAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_every_message_survives_the_wire(union: Any, kind: type[msgspec.Struct]) -> None:
    decoder: Decoder[Any] = Decoder(union)

    @settings(max_examples=20)
    @given(message=values(kind))
    def survives(message: msgspec.Struct) -> None:
        assert decoder.decode(encode(message)) == message

    survives()


def test_no_message_is_left_out_of_its_socket() -> None:
    known = {kind for _, kind in MESSAGES}
    for module in (messages, helpers, control):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__ and _is_message(kind):
                assert kind in known, f"{kind.__name__} goes over no socket"


def _is_message(kind: type) -> bool:
    """A Struct without a tag is a part of a message; one with subclasses is what they share."""
    return (
        issubclass(kind, msgspec.Struct)
        and kind.__struct_config__.tag is not None
        and not kind.__subclasses__()
    )


@settings(max_examples=200)
@given(frame=st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(HEADER.__add__)))
def test_garbage_is_rubbish(frame: bytes) -> None:
    for decoder in DECODERS:
        assert not is_message_or_rubbish(decoder, frame)


@settings(max_examples=200)
@given(message=EVERY_MESSAGE, data=st.data())
def test_a_frame_with_flipped_bytes_is_at_worst_another_message(message: Any, data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    for decoder in DECODERS:
        is_message_or_rubbish(decoder, bytes(frame))


@settings(max_examples=100)
@given(message=EVERY_MESSAGE, data=st.data())
def test_a_frame_cut_short_is_rubbish(message: Any, data: st.DataObject) -> None:
    frame = encode(message)
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    for decoder in DECODERS:
        assert not is_message_or_rubbish(decoder, cut)


@settings(max_examples=100)
@given(message=EVERY_MESSAGE, rest=st.binary(min_size=1, max_size=20))
def test_a_frame_with_something_behind_it_is_rubbish(message: Any, rest: bytes) -> None:
    for decoder in DECODERS:
        assert not is_message_or_rubbish(decoder, encode(message) + rest)


@pytest.mark.parametrize(
    "body",
    [
        b"\x91" * 500_000,
        b"\x81\xa1a" * 300_000,
        b"\x82\xa4type\xa5hello\xa1x" + b"\x91" * 500_000,
        b"\x82\xa4type\xa5hello\xa6entity" + b"\x91" * 500_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x82\xa4type\xa5hello\xa6entity\xdb\xff\xff\xff\xff",
        b"\x82\xa4type\xa5hello\xa6entity\xa4\xff\xfe\xfd\xfc",
        b"\x82\xa4type\xa4\xff\xfe\xfd\xfc",
        b"\x81\xa4\xff\xfe\xfd\xfc\x01",
        b"\x82\xa4type\xa5hello\xa3pid\xcf" + b"\xff" * 8,
        b"\xc1",
        b"",
    ],
    ids=lambda body: body[:24].hex(),
)
@pytest.mark.parametrize("socket", SOCKETS)
def test_hostile_bodies_are_rubbish(body: bytes, socket: str) -> None:
    with pytest.raises(PeerRubbish):
        Decoder[Any](SOCKETS[socket]).decode(HEADER + body)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (b"", "is not of this protocol"),
        (b"GET / HTTP/1.1\r\n\r\n", "starts with b'GET '"),
        (MAGIC, "protocol version"),
        (MAGIC + bytes([VERSION + 1]) + HELLO[5:], f"ours is {VERSION}"),
        (HELLO + b" " * SIZE_LIMIT, "over the limit"),
    ],
)
def test_rubbish_is_told_apart(frame: bytes, told: str) -> None:
    with pytest.raises(PeerRubbish, match=told):
        Decoder[Any](messages.EntityMessage).decode(frame)


def test_a_message_of_another_socket_is_rubbish() -> None:
    with pytest.raises(PeerRubbish):
        Decoder[Any](control.ControlRequest).decode(HELLO)


def test_a_message_with_fields_of_a_later_version_is_understood() -> None:
    frame = HEADER + msgspec.msgpack.encode(
        {"type": "hello", "entity": "orders-1", "incarnation": 1, "pid": 7, "mood": "good"}
    )
    assert Decoder[Any](messages.EntityMessage).decode(frame) == Hello(
        entity="orders-1", incarnation=1, pid=7
    )


def test_the_largest_frame_passes_and_one_byte_more_is_our_misuse() -> None:
    room = SIZE_LIMIT - len(encode(control.Progress(id="", message="x" * 70_000))) + 70_000
    progress = control.Progress(id="", message="x" * room)
    frame = encode(progress)
    assert len(frame) == SIZE_LIMIT
    assert Decoder[Any](control.ControlReply).decode(frame) == progress
    with pytest.raises(ProtocolMisuse, match="Progress of 1048577 bytes is over the limit of 1048576"):
        encode(control.Progress(id="", message="x" * (room + 1)))
