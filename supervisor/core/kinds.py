"""The kinds of event that a fleet tells of: to its log, to `events`, in `temporal_fleet_events_total`. Their
names are users' to hold to: add, never rename. When each is told stands here once, for the docs; what it says
of a given case is written where it is told, and what to do about it in docs/runbook.md.

Not the events that the core is told: those are in events.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from temporal_fleet.supervisor.core.actions import Level

EventKind = Literal[
    "fleet.changed",
    "fleet.converged",
    "fleet.change-rejected",
    "fleet.change-failed",
    "fleet.change-superseded",
    "fleet.change-interrupted",
    "fleet.code-changed",
    "fleet.stopping",
    "fleet.stopped",
    "fleet.unrecovered",
    "cluster.up",
    "cluster.down",
    "credentials.renewed",
    "credentials.refused",
    "program.refused",
    "helper.ready",
    "helper.died",
    "helper.killed",
    "http.serving",
    "http.refused",
    "entity.forked",
    "entity.fork-refused",
    "entity.ready",
    "entity.boot-timeout",
    "entity.adopted",
    "entity.draining",
    "entity.quiet",
    "entity.killed",
    "entity.stopped",
    "entity.never-was",
    "entity.died",
    "entity.cluster",
    "entity.host",
    "entity.failed",
    "entity.hung",
    "entity.not-polling",
    "entity.stuck",
    "entity.recycle",
    "entity.found-dead",
    "entity.recovered",
    "entity.recovery-delayed",
    "memory.evict",
    "memory.evicted",
    "memory.recycle",
    "memory.kill",
    "memory.budget",
    "executions.changed",
    "executions.evicted",
    "activity.poisoned",
    "workflow.suspect",
]


@dataclass(frozen=True, slots=True)
class Telling:
    """When one kind is told, in one sentence, and at which levels."""

    when: str
    levels: tuple[Level, ...]

    @property
    def is_trouble(self) -> bool:
        """Whether somebody may have to do something about it."""
        return not {Level.WARNING, Level.ERROR}.isdisjoint(self.levels)


_DEBUG, _INFO, _WARNING, _ERROR = Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR

KINDS: Final[Mapping[EventKind, Telling]] = {
    "fleet.changed": Telling(
        "A reload, a scale or a restart is in force; the fleet begins to follow it.", (_INFO,)
    ),
    "fleet.converged": Telling("The fleet is what a change asked for.", (_INFO,)),
    "fleet.change-rejected": Telling(
        "A change was refused, and nothing was changed by it: an error of the file, a program that does not "
        "import, a target that there is not.",
        (_ERROR,),
    ),
    "fleet.change-failed": Telling(
        "A change was in force and its entities did not become ready, or the fleet was told to stop: it is "
        "taken back, where there is anything to go back to.",
        (_ERROR,),
    ),
    "fleet.change-superseded": Telling("A newer change took the place of one that was under way.", (_INFO,)),
    "fleet.change-interrupted": Telling(
        "The supervisor that had accepted a change died before it was carried through.", (_WARNING,)
    ),
    "fleet.code-changed": Telling(
        "The program on the disk is not the one that adopted entities were forked from: they are replaced.",
        (_INFO,),
    ),
    "fleet.stopping": Telling("The fleet was told to stop.", (_INFO,)),
    "fleet.stopped": Telling("All is down: the supervisor leaves.", (_INFO,)),
    "fleet.unrecovered": Telling(
        "The fleet stops, and what some dead entities held could not be set free in time.", (_WARNING,)
    ),
    "cluster.up": Telling("The Cluster answers, for the first time or again.", (_INFO,)),
    "cluster.down": Telling(
        "The Cluster cannot be reached, or refuses the fleet; further words of the same outage at debug.",
        (_ERROR, _DEBUG),
    ),
    "credentials.renewed": Telling("A process goes on with credentials that changed.", (_INFO,)),
    "credentials.refused": Telling(
        "Credentials changed and do not work: the process keeps its former connection.", (_ERROR,)
    ),
    "program.refused": Telling("A Worker Program cannot be imported, or has nothing to run.", (_ERROR,)),
    "helper.ready": Telling(
        "A helper process (fork server, cluster agent, dev server, web server) is ready; at info after a "
        "death.",
        (_DEBUG, _INFO),
    ),
    "helper.died": Telling("A helper process died; it is started again, the first time at once.", (_ERROR,)),
    "helper.killed": Telling(
        "A helper process was not ready in time, or does not do its work: it is killed.", (_ERROR,)
    ),
    "http.serving": Telling("The status page and the metrics are served, at this address.", (_INFO,)),
    "http.refused": Telling("The address of `[fleet] http` cannot be served at.", (_ERROR,)),
    "entity.forked": Telling("An entity has a process.", (_DEBUG,)),
    "entity.fork-refused": Telling(
        "The host gave no process for an entity, or the run directory takes no more files; the same trouble "
        "of a pool again at debug.",
        (_ERROR, _DEBUG),
    ),
    "entity.ready": Telling("An entity is validated by the Cluster and polls.", (_INFO,)),
    "entity.boot-timeout": Telling("An entity was not ready within `boot`: it is killed.", (_ERROR,)),
    "entity.adopted": Telling("A supervisor goes on with an entity that an earlier one began.", (_INFO,)),
    "entity.draining": Telling(
        "An entity is on its way out; at warning where nobody told it to.", (_INFO, _WARNING)
    ),
    "entity.quiet": Telling("An entity was told to stop polling, and stays.", (_INFO,)),
    "entity.killed": Telling("An entity did not leave within `drain` and 5 s: it is killed.", (_WARNING,)),
    "entity.stopped": Telling(
        "An entity ended as it was told to; at warning where it drained and ended by itself.",
        (_INFO, _WARNING),
    ),
    "entity.never-was": Telling("An entity was ordered, and ended before it began to work.", (_DEBUG,)),
    "entity.died": Telling("An entity died, and nobody had told it to.", (_ERROR,)),
    "entity.cluster": Telling(
        "An entity ended since the Cluster is not reached or refuses it: no crash, tried again for ever; the "
        "same trouble of a pool again at debug.",
        (_ERROR, _DEBUG),
    ),
    "entity.host": Telling(
        "An entity ended since the run directory takes no files of it: no crash, tried again for ever; the "
        "same trouble of a pool again at debug.",
        (_ERROR, _DEBUG),
    ),
    "entity.failed": Telling(
        "An entity is given up: a crash loop, or a program that cannot be run. At debug for each entity of a "
        "program that was refused.",
        (_ERROR, _DEBUG),
    ),
    "entity.hung": Telling("An entity was silent for `hang`: it is killed.", (_ERROR,)),
    "entity.not-polling": Telling(
        "An entity does not poll for `liveness.polling`, though it could: it is replaced.", (_ERROR,)
    ),
    "entity.stuck": Telling(
        "Workflow code or an activity of an entity does not end within `liveness.activation` or "
        "`liveness.activity`: it is replaced, or killed where it has no slot left.",
        (_ERROR,),
    ),
    "entity.recycle": Telling("An entity has reached `recycle.max_age` or `recycle.max_tasks`.", (_INFO,)),
    "entity.found-dead": Telling(
        "A supervisor found what an entity held that died while there was none, or whose recovery an earlier "
        "one had not seen to its end (at info).",
        (_WARNING, _INFO),
    ),
    "entity.recovered": Telling(
        "What a dead entity held is free; at warning where a part of it is not.", (_INFO, _WARNING)
    ),
    "entity.recovery-delayed": Telling(
        "What a dead entity held cannot be set free yet; the same reason again at debug.", (_WARNING, _DEBUG)
    ),
    "memory.evict": Telling("Executions of an entity are to be evicted for its memory.", (_INFO,)),
    "memory.evicted": Telling(
        "What that brought; at warning where the entity gave no answer.", (_INFO, _WARNING)
    ),
    "memory.recycle": Telling(
        "An entity is replaced for its memory: `recycle_above` or `memory_budget`.", (_WARNING,)
    ),
    "memory.kill": Telling("An entity is above `kill_above`: it is killed.", (_ERROR,)),
    "memory.budget": Telling(
        "All entities together are above `memory_budget` (warning), nothing can be done about it (error), or "
        "they are well within it again (info).",
        (_WARNING, _ERROR, _INFO),
    ),
    "executions.changed": Telling(
        "How many executions of an entity were evicted or resurrected of late.", (_DEBUG,)
    ),
    "executions.evicted": Telling("An entity evicted executions, as an operator had asked.", (_INFO,)),
    "activity.poisoned": Telling(
        "An activity was singled out as what kills entities: it is failed for good, as a `PoisonPill`.",
        (_ERROR,),
    ),
    "workflow.suspect": Telling(
        "A workflow run was active at `poison_after` deaths or more: it cannot be failed from here.",
        (_ERROR,),
    ),
}
"""In the order in which they are read about."""
