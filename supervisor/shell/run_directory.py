"""The run directory while we own it: its lock, the persisted incarnations, the black boxes found in it.

Which file stands where is in protocol.rundir.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from temporal_fleet.protocol.blackbox import BlackBoxContents, read_blackbox
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.process import ProcessIdentity, is_alive
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.core.estate import Estate
from temporal_fleet.supervisor.shell.estates import estate

_log = structlog.get_logger()


class RunDirectoryTaken(Exception):
    """Another supervisor owns it, or it is not ours to use. The message says which and what to do."""


@dataclass(frozen=True)
class Survivor:
    """An entity of an earlier supervisor that still lives."""

    entity: str
    incarnation: int
    process: ProcessIdentity


@dataclass(frozen=True)
class Deceased:
    """An entity of an earlier supervisor that died without one. Its files stay until it is recovered."""

    entity: str
    incarnation: int
    estate: Estate


class OwnedRunDirectory:
    """Makes the directory (0700) and locks it until `release`.

    Raises RunDirectoryTaken when it cannot be had, OSError when it cannot be made.
    """

    def __init__(self, paths: RunDirectory) -> None:
        self.paths = paths
        _refuse_shared(paths.path.parent)
        paths.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The link too, if it is one: another user's could lead us to a folder of ours that is none for us.
        for owner in (paths.path.lstat().st_uid, paths.path.stat().st_uid):
            if owner != os.geteuid():
                raise RunDirectoryTaken(
                    f"{paths.path} belongs to user id {owner}, not to us; "
                    "set [fleet] run_dir to a folder of ours"
                )
        paths.path.chmod(0o700)
        self._lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            raise RunDirectoryTaken(
                f"a fleet already runs in {paths.path} (its supervisor has PID {holder}); "
                "stop it with `temporal-fleet stop`, or give this one another [fleet] name or run_dir"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        paths.entities.mkdir(mode=0o700, exist_ok=True)

    def release(self) -> None:
        """Give the directory up. The lock file stays: to unlink one that another process opens is a race."""
        if self._is_ours():
            for socket in (self.paths.bus, self.paths.control, self.paths.events):
                _remove(socket)
        os.close(self._lock)

    def _is_ours(self) -> bool:
        """Whether the directory at our path is the one that we locked: somebody may have removed it, and
        another supervisor have made it anew."""
        try:
            now = self.paths.lock.stat()
        except OSError:
            return False
        locked = os.fstat(self._lock)
        return (now.st_dev, now.st_ino) == (locked.st_dev, locked.st_ino)

    def incarnations(self) -> dict[str, int]:
        """The last incarnation of each entity id: of the file, and of any black box that is newer."""
        try:
            known = msgspec.json.decode(self.paths.incarnations.read_bytes(), type=dict[str, int])
        except FileNotFoundError:
            known = {}
        except OSError as error:
            raise RunDirectoryTaken(f"{self.paths.incarnations} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            # Torn only by a disk that failed; the black boxes of what may live still tell.
            raise RunDirectoryTaken(
                f"{self.paths.incarnations} is damaged ({error}); "
                "when no entity of this fleet runs any more, remove it"
            ) from error
        for entity, incarnation, _ in self._boxes():
            known[entity] = max(incarnation, known.get(entity, 0))
        return known

    def write_incarnations(self, incarnations: Mapping[str, int]) -> None:
        """Atomically; before any fork that uses them.

        Raises OSError, and what was written before stands.
        """
        draft = self.paths.incarnations.with_suffix(".new")
        try:
            draft.write_bytes(msgspec.json.encode(dict(incarnations)))
            draft.rename(self.paths.incarnations)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def inherited(self) -> list[Survivor | Deceased]:
        """The entities of earlier supervisors, living and dead. Black boxes that are none are removed; one
        that cannot be read now stays for the next start, as whether its process lives is not known."""
        found: list[Survivor | Deceased] = []
        for entity, incarnation, _ in sorted(self._boxes()):
            try:
                contents = self.blackbox(entity, incarnation)
            except OSError:
                continue
            if contents is None:
                self.forget(entity, incarnation)
            elif is_alive(contents.process):
                found.append(Survivor(entity, incarnation, contents.process))
            else:
                found.append(Deceased(entity, incarnation, estate(contents)))
        return found

    def blackbox(self, entity: str, incarnation: int) -> BlackBoxContents | None:
        """The black box of one life; None when it never made one, or none that tells anything.

        Raises OSError, once it is logged, when it cannot be read now: it may well be later.
        """
        try:
            return read_blackbox(self.paths.blackbox(entity, incarnation))
        except FileNotFoundError:
            return None
        except PeerRubbish as rubbish:
            _log.warning(
                "a black box tells nothing: what was in it is not recovered, and waits for its time-outs",
                entity=entity,
                incarnation=incarnation,
                reason=str(rubbish),
            )
            return None
        except OSError as error:
            _log.warning(
                "a black box cannot be read now: it is kept",
                entity=entity,
                incarnation=incarnation,
                reason=str(error),
            )
            raise

    def forget(self, entity: str, incarnation: int) -> None:
        """Remove the files of a life that nothing is to be recovered from (any more). The next supervisor
        tries again where this fails."""
        for path in (self.paths.blackbox(entity, incarnation), self.paths.stacks(entity, incarnation)):
            _remove(path)

    def _boxes(self) -> Iterator[tuple[str, int, Path]]:
        for path in self.paths.entities.glob("*.blackbox"):
            entity, _, incarnation = path.stem.rpartition(".")
            pool, _, ordinal = entity.rpartition("-")
            if pool and ordinal.isdecimal() and incarnation.isdecimal():
                yield entity, int(incarnation), path


def _refuse_shared(parent: Path) -> None:
    """Whoever made a folder in /tmp may rename what is in it, and put his own in the place of ours."""
    shared = stat.S_ISVTX | stat.S_IWOTH
    if not parent.exists() or parent.parent.stat().st_mode & shared != shared:
        return
    found = parent.lstat()
    writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or writable:
        raise RunDirectoryTaken(
            f"{parent} is not ours alone, and stands in a folder that everybody may write to; "
            "remove it, or set [fleet] run_dir to another folder"
        )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        _log.warning("cannot be removed", path=str(path), reason=error.strerror)
