"""What code a program runs: the files of its own modules, the distributions that it can import, one digest
of both. Read from the disk alone, so that who never imports the program can tell whether it changed. Which
modules are a program's own is not known here."""

import hashlib
import os
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from temporal_fleet.protocol.errors import PeerRubbish

ABSENT = b""
"""Instead of the digest of a file that cannot be read."""

_DIGEST_SIZE = 8
_UNPACKED_LIMIT = 1 << 25
_METADATA = (".dist-info", ".egg-info")

_decoder = msgspec.msgpack.Decoder(dict[bytes, bytes])


def content_digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE).digest()


def file_digest(path: bytes) -> bytes:
    """Of the file as it is now. Whoever could not read it will not import it either: ABSENT."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - bytes are no Path
            return content_digest(file.read())
    except OSError:
        return ABSENT


def distributions(search_path: Iterable[bytes]) -> list[bytes]:
    """`NAME-VERSION` of each distribution in these folders: what their metadata is filed under, unread."""
    found: set[bytes] = set()
    for folder in search_path:
        try:
            entries = list(Path(os.fsdecode(folder)).iterdir())
        except OSError:
            # Archives, and folders that are not there: sys.path may name any.
            continue
        found.update(os.fsencode(entry.stem) for entry in entries if entry.suffix in _METADATA)
    return sorted(found)


def code_digest(files: Mapping[bytes, bytes], installed: Iterable[bytes]) -> str:
    """`files`: path -> digest of its content."""
    whole = hashlib.blake2b(digest_size=_DIGEST_SIZE)
    whole.update(msgspec.msgpack.encode([sorted(files.items()), list(installed)]))
    return whole.hexdigest()


def pack(files: Mapping[bytes, bytes]) -> bytes:
    """Small: a pair takes 200 KiB at once, and a large program has thousands of files."""
    return zlib.compress(msgspec.msgpack.encode(dict(files)))


def unpack(packed: bytes) -> dict[bytes, bytes]:
    """Raises PeerRubbish."""
    try:
        return _decoder.decode(zlib.decompressobj().decompress(packed, _UNPACKED_LIMIT))
    except (zlib.error, msgspec.DecodeError) as error:
        raise PeerRubbish(f"no list of files: {error}") from error
