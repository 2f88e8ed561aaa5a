"""What of an entity's work does not go on, gathered for its heartbeat. Who knows it is in vitals and in
recorder; what of it is a fault, the supervisor decides."""

from collections.abc import Mapping

from temporal_fleet.entity.recorder import Recorder
from temporal_fleet.entity.vitals import Vitals
from temporal_fleet.protocol.messages import Standstill

_MOMENT = 2.0
"""Seconds for which an activation may be in hand before it is told of. The SDK gives one up by then."""
_TOLD = 1000


def standstill(vitals: Vitals, recorder: Recorder, polled: Mapping[str, float]) -> Standstill | None:
    """None where all goes on. `polled`: as of the Worker."""
    unpolled, unpolled_for = vitals.unpolled(polled)
    activations = recorder.activations_for(_MOMENT)
    activities = recorder.overdue_activities()
    if not (unpolled or activations or activities):
        return None
    return Standstill(
        unpolled=unpolled,
        unpolled_for=unpolled_for,
        activations=activations[:_TOLD],
        activities=activities[:_TOLD],
        workflow_slots=vitals.slots("workflow_task"),
        activity_slots=vitals.slots("activity_task"),
    )
