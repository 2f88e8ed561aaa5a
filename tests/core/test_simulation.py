"""The core in a simulated world: whatever happens, in whatever order, the invariants hold after every event,
and when it stops happening the fleet becomes what its config says.

Millions of events: python -m tests.core.simulation --events 5000000
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.core.simulation import (
    CHAOS,
    OPERATIONS,
    come_to_an_end,
    come_to_rest,
    new_world,
    random_pools,
    run,
)
from tests.core.world import World


def test_the_invariants_hold_through_long_chaos_and_the_fleet_converges() -> None:
    seen = run(0, limit=16_000).invariants.seen + run(1, limit=16_000).invariants.seen
    # The checks are worth nothing for what never happened.
    for what in (
        "backoff",
        "crash loop",
        "host death",
        "cluster death",
        "never was",
        "not polling",
        "ordered death",
        "ready entity replaced",
        "rest",
        "rest with places given up",
        "condemned",
        "eviction ended",
        "killed for its size",
        "recycled by policy",
        "recycled for its memory",
        "death with a recovery",
        "death without a recovery",
        "explained death",
        "forked with GPUs",
        "found dead",
        "no evidence",
        "recovered by another agent",
        "recovery given up",
        "silent agent",
        "retried apart",
        "stuck",
        "stuck in each slot",
        "superseded",
        "taken back",
        "waited for GPUs",
        "Accept",
        "ClosedFound",
        "Converged",
        "DrainRequested",
        "DumpStacks",
        "Failed",
        "Finish",
        "Evicted",
        "ForkRefused",
        "adopted death",
        "adopted draining",
        "adopted quiet",
        "adopted ready",
        "adopted starting",
        "interrupted",
        "other code",
        "recovery goes on",
        "HelperRefused",
        "KillHelper",
        "LeftByItself",
        "RecoveryDelayed",
        "Reject",
        "ResumeRequested",
        "Stalled",
        "TellQuiet",
    ):
        assert seen[what] > 0, f"{what}: never happened"


class FleetUnderChaos(RuleBasedStateMachine):
    """Short schedules, which hypothesis cuts down to the few steps that matter when one fails."""

    world: World

    @initialize(seed=st.integers(0, 2**32 - 1), faults=st.booleans())
    def start(self, seed: int, faults: bool) -> None:
        self.world = new_world(Random(seed))
        if faults:
            self.world.faults = replace(CHAOS)

    @precondition(lambda self: not self.world.finished)
    @rule(operation=st.sampled_from(list(OPERATIONS)))
    def something_happens(self, operation: Callable[[World], None]) -> None:
        operation(self.world)

    @rule(steps=st.integers(1, 60))
    def time_goes_by(self, steps: int) -> None:
        for _ in range(steps):
            self.world.step()

    @rule(with_entities=st.sampled_from((0.0, 0.5, 1.0)))
    def the_supervisor_is_killed_and_another_starts(self, with_entities: float) -> None:
        self.world.lose_supervisor(with_entities)
        self.world.start(random_pools(self.world.random))

    @precondition(lambda self: not self.world.finished)
    @rule(now=st.booleans())
    def it_is_told_to_stop(self, now: bool) -> None:
        come_to_an_end(self.world, now)

    def teardown(self) -> None:
        if hasattr(self, "world") and not self.world.finished:
            come_to_rest(self.world)
            come_to_an_end(self.world, now=False)


TestFleetUnderChaos = FleetUnderChaos.TestCase
TestFleetUnderChaos.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
