"""What is told of credentials that changed while they were in use. Decides nothing: who tried them has done
what there was to do."""

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.draft import Draft


def tried(draft: Draft, event: events.CredentialsTried) -> None:
    life = event.life
    entity = None
    if life is not None:
        entity = draft.entities.get(life.entity)
        if entity is None or not entity.is_live or entity.incarnation != life.incarnation:
            return
    whose = "" if entity is not None else "the cluster agent: "
    if event.problem:
        draft.emit(
            "credentials.refused",
            Level.ERROR,
            f"{whose}goes on with its former credentials, those of now do not work: {event.problem}",
            entity,
        )
    else:
        draft.emit("credentials.renewed", Level.INFO, f"{whose}goes on with the credentials of now", entity)
