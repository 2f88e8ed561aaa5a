"""Chaos over the simulated host: what goes wrong, what operators ask for, and that all is well afterwards.

    python -m tests.core.simulation --events 5000000 --seed 7

runs as long as you like; a failure names the seed that brings it back.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import inf
from random import Random, randrange

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.estate import Estate, Life
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    Fleet,
    Gpus,
    HelperKind,
    LivenessLimits,
    MemoryLimits,
    Phase,
    Pool,
    RecyclePolicy,
    Rollout,
)
from temporal_fleet.supervisor.core.restart import Policy, RestartPolicy
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.view import FleetState, fleet_state
from tests.core.invariants import Invariants, converged, is_at_rest
from tests.core.pools import make_pool
from tests.core.world import (
    ADDRESSES,
    BUDGETS,
    ENDS,
    MEBIBYTE,
    ClusterIs,
    Doing,
    EntityProcess,
    Faults,
    World,
)

CHAOS = Faults(
    boot_crash=0.1,
    boot_hang=0.02,
    disk_full=0.01,
    fork_refused=0.05,
    announcement_lost=0.02,
    helper_death_at_start=0.1,
    helper_hang=0.05,
    slow_search=0.3,
    drain_overrun=0.1,
    drain_crash=0.1,
    box_lost=0.02,
    answer_lost=0.2,
    growth=0.3,
    repeated=0.1,
)
REST_WITHIN = 2_000.0
"""Simulated seconds in which a fleet left in peace must come to rest."""
PEACE = 12.0
"""Seconds of rest after which nothing is on its way out any more."""
_NAMES = ("orders", "billing", "mail")
_GPUS_EACH = {"orders": {"a": 1, "b": 2}, "billing": {"a": 0, "b": 1}, "mail": {"a": 0, "b": 0}}
"""Of an entity, by its pool and the last letter of the pool's digest."""


def random_pool(random: Random, name: str) -> Pool:
    revision = random.choice(("r1", "r2", "r3"))
    surge, unavailable = random.choice(((1, 0), (1, 0), (0, 1), (2, 0), (2, 1), (1, 3)))
    letter = random.choice("ab")
    return make_pool(
        name,
        random.choice((0, 1, 1, 2, 3, 5)),
        revision=revision,
        digest=f"{revision}-{name}-{letter}/",
        gpus=Gpus(_GPUS_EACH[name][letter]),
        rollout=Rollout(max_surge=surge, max_unavailable=unavailable),
        restart=RestartPolicy(
            policy=random.choice((Policy.ALWAYS, Policy.ALWAYS, Policy.ON_FAILURE, Policy.NEVER)),
            backoff=0.1,
            backoff_max=random.choice((2.0, 30.0)),
            max_restarts=random.choice((0, 2, 5, 10)),
            within=random.choice((10.0, 60.0)),
        ),
        drain=random.choice((0.5, 5.0)),
        hang=random.choice((2.5, 10.0)),
        liveness=LivenessLimits(*(random.choice((5.0, 30.0, inf)) for _ in range(3))),
        boot=random.choice((2.0, 10.0)),
        memory=MemoryLimits(
            evict_above=random.choice((None, 100 * MEBIBYTE)),
            recycle_above=random.choice((None, 150 * MEBIBYTE)),
            kill_above=random.choice((None, 200 * MEBIBYTE)),
        ),
        recycle=RecyclePolicy(
            max_age=random.choice((None, None, 200.0)), max_tasks=random.choice((None, 200))
        ),
        poison_after=random.choice((0, 1, 2, 3, 3)),
    )


def random_pools(random: Random) -> dict[str, Pool]:
    return with_devices({name: random_pool(random, name) for name in _NAMES if random.random() < 0.8})


def gpus_needed(pools: dict[str, Pool]) -> int:
    """As few as a config may list: what the pools take, and the widest roll of one of them."""
    surges = (min(p.rollout.max_surge, p.desired) * p.gpus.each for p in pools.values())
    return sum(p.desired * p.gpus.each for p in pools.values()) + max(surges, default=0)


def with_devices(pools: dict[str, Pool]) -> dict[str, Pool]:
    devices = tuple(range(gpus_needed(pools)))
    return {
        name: replace(
            pool,
            digest=f"{pool.digest.partition('/')[0]}/{len(devices)}",
            gpus=replace(pool.gpus, devices=devices),
        )
        if pool.gpus.each
        else pool
        for name, pool in pools.items()
    }


def varied(random: Random, pools: dict[str, Pool]) -> dict[str, Pool]:
    """A config a little different from the present one."""
    return with_devices(_varied(random, pools))


def _varied(random: Random, pools: dict[str, Pool]) -> dict[str, Pool]:
    if not pools or random.random() < 0.1:
        return random_pools(random)
    name = random.choice(sorted(pools))
    pool = random_pool(random, name)
    match random.randrange(5):
        case 0:
            return {other: p for other, p in pools.items() if other != name}
        case 1:
            return {**pools, name: pool}
        case 2:
            return {**pools, name: replace(pools[name], desired=pool.desired)}
        case 3:
            return {
                **pools,
                name: replace(pools[name], revision=pool.revision, digest=pool.digest, gpus=pool.gpus),
            }
        case _:
            kept = replace(
                pools[name],
                restart=pool.restart,
                hang=pool.hang,
                liveness=pool.liveness,
                rollout=pool.rollout,
                memory=pool.memory,
                recycle=pool.recycle,
                poison_after=pool.poison_after,
            )
            return {**pools, name: kept}


def crash(world: World) -> None:
    if process := _some_entity(world):
        code, signal = world.random.choice((*ENDS, (ExitCode.PROGRAM_UNUSABLE, None)))
        world.kill(process, code, signal)


def crash_often(world: World) -> None:
    """One entity again and again, so that its intensity is tried."""
    if process := _some_entity(world):
        for delay in range(12):
            world.after(delay * 0.7, _crash_place, world, process.entity)


def hang(world: World) -> None:
    if process := _some_entity(world):
        process.hung = True


def go_deaf(world: World) -> None:
    """At times all of them at once."""
    for process in world.living():
        if process.deaf_since is None and world.random.random() < world.random.choice((0.2, 1.0)):
            process.deaf_since = world.now


def get_stuck(world: World) -> None:
    if (process := _some_entity(world)) and len(process.stuck_since) < 2:
        process.stuck_since.append(world.now)


def leave_by_itself(world: World) -> None:
    if process := _some_entity(world):
        world.leave_by_itself(process)


def kill_helper(world: World) -> None:
    if helpers := [helper for helper in world.helpers.values() if helper.alive]:
        world.kill_helper(world.random.choice(helpers))


def hang_fork_server(world: World) -> None:
    if servers := [h for h in world.helpers.values() if h.key.kind is HelperKind.FORK_SERVER]:
        world.random.choice(servers).hung = True


def hang_agent(world: World) -> None:
    if agent := world.helpers.get(AGENT):
        agent.hung = True
        world.after(world.random.choice((5.0, 90.0)), world.kill_helper, agent)


def turn_cluster(world: World) -> None:
    world.turn_cluster(world.random.choice(list(ClusterIs)))


def flap_cluster(world: World) -> None:
    for delay, cluster in enumerate((ClusterIs.DOWN, ClusterIs.UP) * 3):
        world.after(delay * 0.3, world.turn_cluster, cluster)


def stall(world: World) -> None:
    world.stall(world.random.choice((1.5, 5.0, 40.0, 500.0)))


def wait(world: World) -> None:
    """Peace for a while, so that lives grow old enough to count as healthy."""
    until = world.now + world.random.choice((1.0, 5.0, 15.0, 70.0))
    while world.now < until and world.step():
        pass


def hear_the_past(world: World) -> None:
    """A message, or an echo, of a life that is over."""
    if not world.past:
        return
    name, incarnation = world.random.choice(world.past[-50:])
    life = Life(name, incarnation)
    if life in world.fleet.recoveries:
        # It is not over for the agent.
        return
    make: Callable[[], events.Event] = world.random.choice(
        (
            lambda: events.Greeted(name, incarnation, 7),
            lambda: events.BecameReady(name, incarnation),
            lambda: events.Heard(name, incarnation),
            lambda: events.StoodStill(name, incarnation, "no poller", 1e6, (1e6,), (1e6,), 1, 1),
            lambda: events.LeftByItself(name, incarnation, "signal"),
            lambda: events.Forked(name, incarnation, 7),
            lambda: events.ForkRefused(name, incarnation, "late"),
            lambda: events.Died(name, incarnation, 1, None, "", Estate(cached=1)),
            lambda: events.Recovered(life, 1, 1, 1, 1, 1, 0.1, ""),
            lambda: events.RecoveryDelayed(life, "late"),
            lambda: events.ClosedFound(name, incarnation, ("run-1",)),
            lambda: events.Evicted(name, incarnation, 1, 1, 2, 1),
            lambda: events.Greeted("stranger-1", 3, 7),
        )
    )
    world.deliver(make())


def kill_supervisor(world: World) -> None:
    """In the middle of what it does next; the next one finds the same file."""
    if not world.finished:
        world.dies_within = world.random.randrange(6)


def break_program(world: World) -> None:
    world.broken ^= {world.random.choice(("r1", "r2", "r3"))}


def break_code(world: World) -> None:
    if world.fleet.pools:
        world.crashing ^= {world.random.choice([p.digest for p in world.fleet.pools.values()])}


def edit_program(world: World) -> None:
    revision = world.random.choice(("r1", "r2", "r3"))
    world.edits[revision] = world.edits.get(revision, 0) + 1


def reload(world: World) -> None:
    pools = varied(world.random, dict(world.fleet.pools))
    budget = world.random.choice((world.fleet.budget, *BUDGETS))
    forced = tuple(name for name in (*_NAMES, "nowhere") if world.random.random() < 0.05)
    world.request(lambda name: events.ReloadRequested(name, pools, budget, forced, world.codes()))
    # The shell tells of it when the change is in force, or taken back.
    world.deliver(events.HttpWanted(world.random.choice((world.fleet.http, *ADDRESSES))))


def scale(world: World) -> None:
    name = world.random.choice((*_NAMES, "nowhere"))
    size = world.random.choice((-1, 0, 1, 2, 4, 6))
    if pool := world.fleet.pools.get(name):
        scaled = {**world.fleet.pools, name: replace(pool, desired=size)}
        if pool.gpus.each and gpus_needed(scaled) > len(pool.gpus.devices):
            # No config would have it.
            return
    world.request(lambda request: events.ScaleRequested(request, {name: size}))


def restart(world: World) -> None:
    targets = (None, *world.fleet.pools, *world.fleet.entities, "nowhere")
    target = world.random.choice(targets)
    world.request(lambda name: events.RestartRequested(name, target, world.codes()))


def drain(world: World) -> None:
    pool = world.random.choice((*_NAMES, "nowhere"))
    world.request(lambda name: events.DrainRequested(name, pool))


def resume(world: World) -> None:
    pool = world.random.choice((*_NAMES, "nowhere"))
    world.request(lambda name: events.ResumeRequested(name, pool))


def quiet(world: World) -> None:
    entity = world.random.choice((*world.fleet.entities, "nowhere-1"))
    world.request(lambda name: events.QuietRequested(name, entity))


OPERATIONS: dict[Callable[[World], None], int] = {
    crash: 30,
    crash_often: 2,
    hang: 6,
    go_deaf: 2,
    get_stuck: 6,
    leave_by_itself: 5,
    kill_helper: 5,
    hang_fork_server: 2,
    hang_agent: 2,
    turn_cluster: 3,
    flap_cluster: 1,
    stall: 2,
    wait: 10,
    kill_supervisor: 3,
    hear_the_past: 20,
    break_program: 2,
    break_code: 2,
    reload: 8,
    scale: 5,
    restart: 5,
    edit_program: 2,
    drain: 2,
    resume: 4,
    quiet: 4,
}


def come_to_rest(world: World) -> None:
    """Left in peace, the fleet becomes what its config says; a place given up does once it is restarted."""
    world.faults = Faults()
    world.broken.clear()
    world.crashing.clear()
    for helper in tuple(world.helpers.values()):
        if helper.key == AGENT and helper.hung:
            world.kill_helper(helper)
    world.turn_cluster(ClusterIs.UP)
    if world.dies_within is not None:
        world.succeed()
    for place in tuple(world.fleet.entities.values()):
        # A quiet one keeps its GPUs, and another may wait for them for ever.
        if place.state is State.QUIET and place.gpus:
            world.request(partial(events.RestartRequested, target=place.id))
    _settle(world)
    if not _all_work(world.fleet) or fleet_state(world.fleet)[0] is not FleetState.RUNNING:
        world.invariants.seen["rest with places given up"] += 1
        world.request(lambda name: events.RestartRequested(name, None))
        _settle(world)
    world.invariants.seen["rest"] += 1
    assert _all_work(world.fleet)
    assert fleet_state(world.fleet) == (FleetState.RUNNING, "")


def _all_work(fleet: Fleet) -> bool:
    return all(entity.state in {State.READY, State.QUIET} for entity in fleet.entities.values())


def _settle(world: World) -> None:
    until = world.now + REST_WITHIN
    calm_since = None
    while calm_since is None or world.now < calm_since + PEACE:
        if not world.step():
            assert is_at_rest(world.fleet), f"nothing will ever happen again: {world.fleet}"
            break
        if not is_at_rest(world.fleet):
            calm_since = None
        elif calm_since is None:
            calm_since = world.now
        assert world.now < until, f"never comes to rest: {world.fleet}"
    converged(world.fleet)
    work = {(e.id, e.incarnation) for e in world.fleet.entities.values() if e.is_live}
    alive = {(p.entity, p.incarnation) for p in world.living()}
    assert work == alive, f"they should live: {work}, alive: {alive}"
    quiet = {e.id for e in world.fleet.entities.values() if e.state is State.QUIET}
    assert quiet == {p.entity for p in world.living() if p.doing is Doing.QUIET}, f"quiet: {quiet}"


def come_to_an_end(world: World, now: bool) -> None:
    """Told to stop, in whatever state and with whatever faults: it ends, and nothing is left."""
    if world.dies_within is not None:
        world.succeed()
    world.deliver(events.StopRequested(now))
    until = world.now + REST_WITHIN
    while not world.finished:
        assert world.step(), f"does not stop: {world.fleet}"
        assert world.now < until, f"does not stop: {world.fleet}"
    assert world.fleet.phase is Phase.STOPPED
    assert not world.living()


def run(seed: int, limit: int) -> World:
    """So many events of chaos, with peace, stops and lost supervisors between."""
    random = Random(seed)
    world = new_world(random)
    operations, weights = list(OPERATIONS), list(OPERATIONS.values())
    while world.delivered < limit:
        world.faults = replace(CHAOS)
        for _ in range(random.randrange(200)):
            random.choices(operations, weights)[0](world)
            for _ in range(random.randrange(40)):
                world.step()
        ending = random.random()
        if ending < 0.5:
            come_to_rest(world)
        elif ending < 0.7:
            if ending < 0.6:
                come_to_rest(world)
            world.lose_supervisor(with_entities=random.choice((0.0, 0.3, 1.0)))
            world.start(random_pools(random))
        else:
            if random.random() < 0.6:
                world.turn_cluster(ClusterIs.DOWN)
                crash(world)
            come_to_an_end(world, now=random.random() < 0.5)
            world = new_world(random, world)
    come_to_rest(world)
    come_to_an_end(world, now=False)
    return world


def new_world(random: Random, before: World | None = None) -> World:
    world = World(random, embedded=random.random() < 0.3)
    if before is not None:
        world.now, world.delivered = before.now, before.delivered
        world.invariants = Invariants(seen=before.invariants.seen)
    world.start(random_pools(random))
    return world


def _some_entity(world: World) -> EntityProcess | None:
    living = world.living()
    return world.random.choice(living) if living else None


def _crash_place(world: World, place: str) -> None:
    for process in world.living():
        if process.entity == place and process.doing is not Doing.DEAD:
            world.kill(process, 1, None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=randrange(1_000_000))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    world = run(arguments.seed, arguments.events)
    for what, times in world.invariants.seen.most_common():
        print(f"{times:10,}  {what}")


if __name__ == "__main__":
    main()
