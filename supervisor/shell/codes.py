"""The code of each fork server's program: as it was imported, and as it stands on the disk now. Files are
read and compared, never imported. What follows from a difference is decided in core."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from temporal_fleet.protocol.code import code_digest, distributions, file_digest, unpack
from temporal_fleet.protocol.helpers import Prepared


@dataclass(frozen=True)
class _Imported:
    files: Mapping[bytes, bytes]
    search_path: tuple[bytes, ...]
    installed: frozenset[bytes]


@dataclass(frozen=True)
class Code:
    """Of one fork server's program, as it would be imported now."""

    digest: str
    edited: tuple[str, ...]
    """The files that are not what they were, and the distributions that are new or gone."""


class Codes:
    def __init__(self) -> None:
        self._imported: dict[str, _Imported] = {}

    def learn(self, fork_server: str, prepared: Prepared) -> None:
        """Raises PeerRubbish."""
        search_path = tuple(prepared.search_path)
        installed = frozenset(distributions(search_path))
        self._imported[fork_server] = _Imported(unpack(prepared.files), search_path, installed)

    def forget(self, fork_server: str) -> None:
        self._imported.pop(fork_server, None)

    def now(self) -> Mapping[str, Code]:
        """By the names of the fork servers that have imported their programs."""
        # Fork servers share most of what they import from.
        digests: dict[bytes, bytes] = {}
        installed: dict[tuple[bytes, ...], list[bytes]] = {}
        found = {}
        for name, imported in self._imported.items():
            for path in imported.files.keys() - digests.keys():
                digests[path] = file_digest(path)
            if imported.search_path not in installed:
                installed[imported.search_path] = distributions(imported.search_path)
            files = {path: digests[path] for path in imported.files}
            there = installed[imported.search_path]
            edited = [path for path, digest in sorted(imported.files.items()) if files[path] != digest]
            edited += sorted(imported.installed.symmetric_difference(there))
            found[name] = Code(code_digest(files, there), tuple(os.fsdecode(each) for each in edited))
        return found
