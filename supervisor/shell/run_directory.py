"""The run directory while we own it: its lock, the black boxes found in it.

Which file stands where is in protocol.rundir.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog

from temporal_fleet.protocol.blackbox import VERSION, BlackBoxContents, read_blackbox, read_head
from temporal_fleet.protocol.errors import PeerRubbish
from temporal_fleet.protocol.process import ProcessIdentity, is_alive, is_there
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.protocol.signals import NOT_YET
from temporal_fleet.supervisor.config.host import Account
from temporal_fleet.supervisor.core.estate import Estate
from temporal_fleet.supervisor.shell.children import is_ours
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
    gpus: tuple[int, ...] = ()


@dataclass(frozen=True)
class Deceased:
    """An entity of an earlier supervisor that died without one. Its files stay until it is recovered."""

    entity: str
    incarnation: int
    estate: Estate


LOCK_VARIABLE = "TEMPORAL_FLEET_LOCK"
"""In the environment of a supervisor that goes on in the same process: the descriptor of its lock."""


class OwnedRunDirectory:
    """Makes the directory (0700) and locks it until `release`. `lock`: a descriptor that holds its lock
    already, as one that goes on in the same process has.

    Raises RunDirectoryTaken when it cannot be had, OSError when it cannot be made.
    """

    def __init__(self, paths: RunDirectory, lock: int | None = None) -> None:
        self.paths = paths
        _refuse_shared(paths.path.parent)
        for folder in reversed([folder for folder in paths.path.parents if not folder.exists()]):
            # Nobody sees what is in it, and who is let into ours can come to it.
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
        paths.path.mkdir(mode=0o700, exist_ok=True)
        # The link too, if it is one: another user's could lead us to a folder of ours that is none for us.
        for owner in (paths.path.lstat().st_uid, paths.path.stat().st_uid):
            if owner != os.geteuid():
                raise RunDirectoryTaken(
                    f"{paths.path} belongs to user id {owner}, not to us; "
                    "set [fleet] run_dir to a folder of ours"
                )
        if paths.is_another_s():
            raise RunDirectoryTaken(
                f"{paths.path} holds other things, and would be closed to everybody else; "
                f"set [fleet] run_dir to a folder of its own, such as {paths.path}/run"
            )
        paths.path.chmod(0o700)
        self.lock = lock if lock is not None and _is_file(lock, paths.lock) else _opened(paths.lock)
        self.is_handed_over = lock == self.lock
        os.set_inheritable(self.lock, False)
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _text(paths.pid) or "unknown"
            os.close(self.lock)
            raise RunDirectoryTaken(
                f"a fleet already runs in {paths.path} (its supervisor has PID {holder}); "
                "stop it with `temporal-fleet stop`, or give this one another [fleet] name or run_dir"
            ) from None
        # Who tidies /tmp up leaves a folder alone that is locked (systemd-tmpfiles(8)).
        self._folder = os.open(paths.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(OSError):
            fcntl.flock(self._folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
        paths.pid.write_text(f"{os.getpid()}\n")
        paths.pid.chmod(0o644)
        paths.entities.mkdir(mode=0o700, exist_ok=True)
        paths.entities.chmod(0o700)

    def release(self) -> None:
        """Give the directory up. The lock file stays: to unlink one that another process opens is a race. So
        do metrics where any entity may live, or is to be recovered: its next life goes on from them."""
        if self._is_ours():
            for file in (*self.paths.path.glob("*.sock"), self.paths.pid):
                _remove(file)
            if not any(self.lives()):
                for file in self.paths.entities.glob("*.metrics"):
                    _remove(file)
        os.close(self._folder)
        os.close(self.lock)

    def users(self) -> set[int]:
        """The user ids, other than ours, of those that entities of earlier supervisors ran as."""
        found = set()
        for entity, incarnation in self.lives():
            # One that finds its place taken removes its box, and leaves.
            with contextlib.suppress(FileNotFoundError):
                found.add(self.paths.blackbox(entity, incarnation).stat().st_uid)
        return found - {os.geteuid()}

    def let_in(self) -> None:
        """Users of entities, so that they come to what is theirs by name. They see nothing else, and may make
        and remove no file: none of them can put another file in the place of one of ours."""
        for folder in (self.paths.path, self.paths.entities):
            folder.chmod(0o711)

    def make_files(self, entity: str, incarnation: int, user: Account) -> None:
        """Of a life that is another user's, before its fork: it may make none. That of its metrics may be
        there, from a life before it. Raises OSError."""
        files = {
            self.paths.blackbox(entity, incarnation): 0o600,
            self.paths.stacks(entity, incarnation): NOT_YET,
        }
        for path, mode in files.items():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
            try:
                os.fchown(descriptor, user.uid, user.gid)
            finally:
                os.close(descriptor)
        metrics = os.open(self.paths.metrics(entity), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchown(metrics, user.uid, user.gid)
        finally:
            os.close(metrics)

    def _is_ours(self) -> bool:
        """Whether the directory at our path is the one that we locked: somebody may have removed it, and
        another supervisor have made it anew."""
        return _is_file(self.lock, self.paths.lock)

    def lives(self) -> Iterator[tuple[str, int]]:
        """Every life that has a black box: entity id and incarnation."""
        for path in self.paths.entities.glob("*.blackbox"):
            entity, _, incarnation = path.stem.rpartition(".")
            pool, _, ordinal = entity.rpartition("-")
            if pool and ordinal.isdecimal() and incarnation.isdecimal():
                yield entity, int(incarnation)

    def inherited(self) -> list[Survivor | Deceased]:
        """The entities of earlier supervisors, living and dead; children of ours that nobody waited for yet
        count as living, and so does who wrote its box in another layout. Black boxes that tell nothing of the
        dead are removed; one that cannot be read now stays for the next start, as whether its process lives
        is not known."""
        found: list[Survivor | Deceased] = []
        for entity, incarnation in sorted(self.lives()):
            foreign = self.foreign(entity, incarnation)
            if foreign is not None and self._lives(entity, incarnation, foreign):
                found.append(Survivor(entity, incarnation, foreign))
                continue
            try:
                contents = self.blackbox(entity, incarnation)
            except OSError:
                continue
            if contents is None:
                self.forget(entity, incarnation)
            elif self._lives(entity, incarnation, contents.process):
                found.append(Survivor(entity, incarnation, contents.process, contents.gpus))
            else:
                found.append(Deceased(entity, incarnation, estate(contents)))
        return found

    def processes(self) -> set[int]:
        """The PIDs of the entities that have a black box by now, and are there."""
        boxes = (self.blackbox(entity, incarnation) for entity, incarnation in self.lives())
        return {box.process.pid for box in boxes if box is not None and is_there(box.process)}

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

    def foreign(self, entity: str, incarnation: int) -> ProcessIdentity | None:
        """Whose black box it is, where that has another layout: what it holds cannot be known. None: it has
        ours, or is none."""
        try:
            head = read_head(self.paths.blackbox(entity, incarnation))
        except (OSError, PeerRubbish):
            return None
        return head.process if head.layout != VERSION else None

    def _lives(self, entity: str, incarnation: int, process: ProcessIdentity) -> bool:
        """Or it is a zombie of ours, whose exit status can still be had."""
        lives = is_alive(process) or is_ours(process)
        return lives and self._is_of_its_owner(entity, incarnation, process)

    def _is_of_its_owner(self, entity: str, incarnation: int, process: ProcessIdentity) -> bool:
        """Whether who wrote the box runs that process: nobody has us end a process that is another's."""
        try:
            owner = self.paths.blackbox(entity, incarnation).stat().st_uid
            return psutil.Process(process.pid).uids().real == owner
        except (OSError, psutil.Error):
            return False

    def forget(self, entity: str, incarnation: int) -> None:
        """Remove the files of a life that nothing is to be recovered from (any more). The next supervisor
        tries again where this fails."""
        for path in (self.paths.blackbox(entity, incarnation), self.paths.stacks(entity, incarnation)):
            _remove(path)


def _opened(lock: Path) -> int:
    return os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _is_file(descriptor: int, path: Path) -> bool:
    try:
        opened, there = os.fstat(descriptor), path.stat()
    except OSError:
        return False
    return (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)


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


def _text(path: Path) -> str:
    """Empty where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
