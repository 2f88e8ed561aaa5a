"""Entities whose heart beats and that do no work: how long that may be, and what is done about it. Silence is
judged in lives; how a life is replaced stands in moves.

Three limits of the pool, each against what the entity tells of itself:

    polling     it does not poll for work that it could take. Only while the Cluster answers, and has for as
                long: else it is the Cluster's doing, and no restart mends that
    activation  workflow code that does not yield: its thread and its slot are lost
    activity    code that runs on beyond the time of its attempt. The Cluster has given the activity to
                somebody else by then, and this slot is lost

Its stacks go to the log, and it is recycled: another is started and must poll before this one drains, so that
what it does well goes on, and where the cause lies outside nobody is restarted in vain. None of this counts
as a crash: it takes as long as the limit each time, and so cannot spin. Only where nothing else is left,
since each slot is taken by what stands still, it is killed and recovered at once. That is a crash, but it
speaks against none of the activities: they may wait for something outside.
"""

from collections.abc import Sequence

from temporal_fleet.supervisor.core import events, recycle
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import AGENT, Entity, Fault, HelperState, Phase
from temporal_fleet.supervisor.core.lives import dump, kill_useless
from temporal_fleet.supervisor.core.states import State


def stood_still(draft: Draft, event: events.StoodStill) -> None:
    entity = draft.life(event.entity, event.incarnation)
    pool = draft.pools.get(entity.pool) if entity is not None else None
    if entity is None or pool is None or entity.state is not State.READY or draft.phase is not Phase.RUNNING:
        return
    limits = pool.liveness
    activations = _beyond(event.activations, limits.activation)
    activities = _beyond(event.activities, limits.activity)
    stuck = []
    if activations:
        longest = f"the longest for {activations[0]:.0f} s"
        stuck.append(f"{_count(activations, 'workflow activation')} not ended, {longest}")
    if activities:
        longest = f"the longest by {activities[0]:.0f} s"
        stuck.append(f"{_count(activities, 'activity', 'activities')} beyond the attempt's time, {longest}")
    figures = "; ".join(stuck)
    if _are_all(activations, event.workflow_slots) or _are_all(activities, event.activity_slots):
        kill_useless(draft, entity, f"{Fault.STUCK.value}: {figures}; no slot is left")
    elif stuck:
        _recycle(draft, entity, Fault.STUCK, figures)
    elif _unpolled(draft, event) > limits.polling:
        told = f"{event.unpolled} for {event.unpolled_for:.0f} s, and the Cluster answers"
        _recycle(draft, entity, Fault.NOT_POLLING, told)


def _recycle(draft: Draft, entity: Entity, fault: Fault, figures: str) -> None:
    if recycle.for_fault(draft, entity, fault, figures):
        dump(draft, entity)


def _unpolled(draft: Draft, event: events.StoodStill) -> float:
    """Of the time without polls, that which nobody but the entity can be blamed for."""
    agent = draft.helpers.get(AGENT)
    is_watched = agent is not None and agent.state is HelperState.READY
    if not is_watched or draft.cluster.is_down or draft.cluster.reachable is None:
        return 0.0
    return min(event.unpolled_for, draft.now - draft.cluster.since)


def _beyond(ages: Sequence[float], limit: float) -> list[float]:
    return [age for age in ages if age > limit]


def _are_all(stuck: Sequence[float], slots: int | None) -> bool:
    return slots is not None and 0 < slots <= len(stuck)


def _count(stuck: Sequence[float], one: str, many: str = "") -> str:
    return f"{len(stuck)} {one if len(stuck) == 1 else many or f'{one}s'}"
