"""The dead whose files still stand: when each died, and the order to the cluster agent to set free what it
held. Whether, and how often, is decided in core."""

from collections.abc import Callable, Sequence

import structlog

from temporal_fleet.protocol.helpers import ActivityVerdict, RecoverEntity
from temporal_fleet.supervisor.core import actions, estate
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.shell.helpers import Helpers
from temporal_fleet.supervisor.shell.run_directory import OwnedRunDirectory

_log = structlog.get_logger()

VERDICTS_LIMIT = 128 << 10
"""Bytes of verdicts in one order: a frame of a pair has to fit the kernel's default buffer."""
_OVERHEAD = 64


class Dead:
    def __init__(
        self,
        run: OwnedRunDirectory,
        helpers: Helpers,
        wall_clock: Callable[[], float],
        task_queue: Callable[[str], str],
    ) -> None:
        """`task_queue`: of a pool by name; empty where that is no longer known."""
        self._run = run
        self._helpers = helpers
        self._wall_clock = wall_clock
        self._task_queue = task_queue
        self._died_at: dict[Life, float] = {}

    def found(self, life: Life) -> None:
        """That life is over, since now at the latest."""
        self._died_at[life] = self._wall_clock()

    def recover(self, action: actions.Recover) -> None:
        """Without an agent nobody is told: the core orders again once there is one."""
        life = action.life
        self._helpers.tell_agent(
            RecoverEntity(
                entity=life.entity,
                incarnation=life.incarnation,
                blackbox=str(self._run.paths.blackbox(life.entity, life.incarnation)),
                signal=action.signal,
                cause=action.cause,
                died_at=self._died_at.get(life, self._wall_clock()),
                verdicts=_fitting(life, action.verdicts),
                task_queue=self._task_queue(life.pool),
                left_alone=list(action.left_alone),
            )
        )

    def forget(self, life: Life) -> None:
        self._died_at.pop(life, None)
        self._run.forget(life.entity, life.incarnation)


def _fitting(life: Life, verdicts: Sequence[estate.ActivityVerdict]) -> list[ActivityVerdict]:
    """As many as one order has room for, those that end an activity for good before those that delay it."""
    told: list[ActivityVerdict] = []
    room = VERDICTS_LIMIT
    for verdict in sorted(verdicts, key=lambda verdict: not verdict.poison):
        room -= len(verdict.task_token) + len(verdict.poison.encode()) + _OVERHEAD
        if room < 0:
            _log.warning(
                "too many activities in hand for one order of recovery: the rest is retried at once",
                entity=life.entity,
                incarnation=life.incarnation,
                rest=len(verdicts) - len(told),
            )
            break
        told.append(
            ActivityVerdict(
                task_token=verdict.task_token, retry_after=verdict.retry_after, poison=verdict.poison
            )
        )
    return told
