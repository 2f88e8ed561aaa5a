"""The file of what was in the hands of entities when they died: it outlives the supervisor and the host. Who
is a suspect is decided in core."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from temporal_fleet.supervisor.core.estate import ActivityKey, RunKey, Suspect, SuspectKey

_log = structlog.get_logger()


class _Activity(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="activity"):
    workflow_id: str
    run_id: str
    activity_id: str
    type: str
    deaths: int
    lives: tuple[str, ...] = ()
    last: float = 0.0


class _Workflow(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="workflow"):
    workflow_id: str
    run_id: str
    type: str
    deaths: int
    lives: tuple[str, ...] = ()
    last: float = 0.0


_Line = _Activity | _Workflow


class SuspectsFile:
    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "suspects.json"
        self._saved = True
        """Whether the last attempt to write it went well."""

    def load(self) -> tuple[Suspect, ...]:
        """The oldest first; none where there is no file, or none that can be read: nobody is condemned for
        what is not known."""
        try:
            lines = msgspec.json.decode(self.path.read_bytes(), type=list[_Line])
        except FileNotFoundError:
            return ()
        except OSError as error:
            _log.warning("suspects cannot be read: none is known", path=str(self.path), reason=error.strerror)
            return ()
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._put_aside(str(error))
            return ()
        return tuple(_suspect(line) for line in lines)

    def save(self, suspects: Sequence[Suspect]) -> None:
        """Atomically, as far as the death of this process goes: a disk that takes its time must not hold up
        the loop. What cannot be written is still known, as long as this supervisor lives."""
        draft = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft.write_bytes(msgspec.json.encode([_line(suspect) for suspect in suspects]))
            draft.rename(self.path)
        except OSError as error:
            if self._saved:
                _log.warning(
                    "suspects cannot be saved: the next supervisor will not know them; make room there, or "
                    "set [fleet] state_dir to another folder",
                    path=str(self.path),
                    reason=error.strerror,
                )
            self._saved = False
        else:
            self._saved = True

    def _put_aside(self, reason: str) -> None:
        kept = self.path.with_suffix(".damaged")
        try:
            self.path.rename(kept)
        except OSError as error:
            reason = f"{reason}; and it cannot be put aside: {error.strerror}"
        _log.warning(
            "suspects are damaged: none is known", path=str(self.path), kept=str(kept), reason=reason
        )


def _line(suspect: Suspect) -> _Line:
    key = suspect.key
    if isinstance(key, ActivityKey):
        return _Activity(
            workflow_id=key.workflow_id,
            run_id=key.run_id,
            activity_id=key.activity_id,
            type=suspect.type,
            deaths=suspect.deaths,
            lives=suspect.lives,
            last=suspect.last,
        )
    return _Workflow(
        workflow_id=key.workflow_id,
        run_id=key.run_id,
        type=suspect.type,
        deaths=suspect.deaths,
        lives=suspect.lives,
        last=suspect.last,
    )


def _suspect(line: _Line) -> Suspect:
    key: SuspectKey
    if isinstance(line, _Activity):
        key = ActivityKey(line.workflow_id, line.run_id, line.activity_id)
    else:
        key = RunKey(line.workflow_id, line.run_id)
    return Suspect(key, line.type, line.deaths, line.lives, line.last)
