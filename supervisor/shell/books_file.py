"""The file of the books: the last that a supervisor knew of its fleet, for the next one. What stands in them,
and what is made of them, is decided in core.

It is replaced in one step, and not synced: it is to outlive this process, and a host that dies takes the
entities along that it tells of.
"""

import time
from contextlib import suppress
from dataclasses import replace

import msgspec
import structlog

from temporal_fleet.protocol.process import boot_id
from temporal_fleet.supervisor.core.books import NO_BOOKS, Books, books, of_former_boot, say_the_same
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory, RunDirectoryTaken

_log = structlog.get_logger()

LAYOUT = 1
"""Another one is no file for us. A field that is new has a default, and needs no new layout."""


class _File(msgspec.Struct, frozen=True, kw_only=True):
    layout: int
    boot_id: str
    monotonic: float
    """The clock of the times in the books, when they were written."""
    wall: float
    """Seconds since the epoch, then."""
    books: Books


class BooksFile:
    def __init__(self, run: OwnedRunDirectory) -> None:
        self._run = run
        self._path = run.paths.books
        self._boot_id = boot_id()
        self._seen: Fleet | None = None
        self._written: Books | None = None
        self._saved = True
        """Whether the last attempt to write it went well."""

    def load(self) -> Books:
        """As they are now; empty ones where there is no file. Of one that is damaged, or of another layout,
        no more is known than what the black boxes tell: entities are adopted by those alone.

        Raises RunDirectoryTaken when the file cannot be read.
        """
        known = self._read()
        incarnations = dict(known.incarnations)
        for entity, incarnation in self._run.lives():
            incarnations[entity] = max(incarnation, incarnations.get(entity, 0))
        return replace(known, incarnations=incarnations)

    def keep(self, fleet: Fleet) -> None:
        """Write what changed since the last time, if anything did.

        Raises OSError, and what was written before stands.
        """
        if fleet is self._seen:
            return
        now = books(fleet)
        if self._written is None or not say_the_same(now, self._written):
            self._write(now)
        self._seen, self._written = fleet, now

    def try_to_keep(self, fleet: Fleet) -> None:
        """A file that cannot be written costs nothing but what the next supervisor would have known."""
        try:
            self.keep(fleet)
        except OSError as error:
            if self._saved:
                _log.warning(
                    "what the next supervisor must know cannot be written: make room there",
                    path=str(self._path),
                    reason=error.strerror,
                )
            self._saved = False
        else:
            self._saved = True

    def _write(self, now: Books) -> None:
        file = _File(
            layout=LAYOUT, boot_id=self._boot_id, monotonic=time.monotonic(), wall=time.time(), books=now
        )
        draft = self._path.with_suffix(".new")
        try:
            draft.write_bytes(msgspec.json.encode(file))
            draft.rename(self._path)
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise

    def _read(self) -> Books:
        try:
            file = msgspec.json.decode(self._path.read_bytes(), type=_File)
            if file.layout != LAYOUT:
                raise msgspec.ValidationError(f"it is of layout {file.layout}, not {LAYOUT}")
        except FileNotFoundError:
            return NO_BOOKS
        except OSError as error:
            raise RunDirectoryTaken(f"{self._path} cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._put_aside(str(error))
        if file.boot_id == self._boot_id:
            return file.books
        return of_former_boot(file.books, (time.monotonic() - time.time()) - (file.monotonic - file.wall))

    def _put_aside(self, reason: str) -> Books:
        kept = self._path.with_suffix(".damaged")
        with suppress(OSError):
            self._path.rename(kept)
        _log.error(
            "what the last supervisor knew of its fleet is lost: entities that live are adopted and then "
            "replaced, counters, changes and drained pools begin anew",
            path=str(self._path),
            kept=str(kept),
            reason=reason,
        )
        # No incarnation may come again, and no entity has lived more often than once in a second.
        return Books(least=int(time.time()))
