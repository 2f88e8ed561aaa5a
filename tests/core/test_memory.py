"""Memory limits of a pool: eviction with hysteresis, recycling that keeps the capacity, the kill."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events, eviction, recycle
from temporal_fleet.supervisor.core.decide import next_deadline
from temporal_fleet.supervisor.core.estate import Life
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    Entity,
    Leaving,
    MemoryLimits,
    Pool,
    Pressure,
    Relief,
    Rollout,
)
from temporal_fleet.supervisor.core.restart import RestartPolicy
from temporal_fleet.supervisor.core.states import State
from temporal_fleet.supervisor.core.transitions import IllegalTransition, following
from tests.core.caches import MIB, Cache, Caches
from tests.core.driver import up
from tests.core.pools import by_name, make_pool

FIRST = Life("orders-1", 1)


def limited(
    evict: int | None = None, recycled: int | None = None, kill: int | None = None, desired: int = 1
) -> Pool:
    """Limits in MiB."""
    limits = [None if limit is None else limit * MIB for limit in (evict, recycled, kill)]
    return make_pool("orders", desired, hang=1e9, memory=MemoryLimits(*limits))


def running(pool: Pool) -> Caches:
    caches = Caches(up(pool))
    caches.measure()
    return caches


def told(caches: Caches, kind: str) -> list[str]:
    return [a.message for a in caches.driver.all if isinstance(a, act.Emit) and a.kind == kind]


# Eviction


def test_below_its_limit_nothing_is_done() -> None:
    caches = running(limited(evict=300))
    caches.cache("orders-1").executions = 240
    caches.measure()
    assert caches.driver.last == ()


def test_above_it_the_closed_go_first_and_as_many_as_the_overshoot_needs() -> None:
    caches = running(limited(evict=300))
    caches.closed = 3
    caches.cache("orders-1").executions = 340
    caches.measure()
    assert [a for a in caches.driver.all if isinstance(a, act.FindClosed)] == [act.FindClosed(FIRST, 340)]
    [(_, order)] = caches.orders
    # 400 MiB, to come down to 270.
    assert order == act.Evict(FIRST, 130, ("run-0", "run-1", "run-2"))
    assert caches.cache("orders-1").rss == 270 * MIB
    assert told(caches, "memory.evict") == [
        "RSS 400.0 MiB is over evict_above (300.0 MiB): evicts 130 of 340 blocked executions"
    ]
    assert told(caches, "memory.evicted") == [
        "evicted 130 executions: RSS 400.0 MiB before, 270.0 MiB after; 210 remain cached"
    ]


def test_all_that_are_closed_go_though_fewer_would_do() -> None:
    caches = running(limited(evict=300))
    caches.closed = 200
    caches.cache("orders-1").executions = 250
    caches.measure()
    [(_, order)] = caches.orders
    assert (order.at_most, len(order.run_ids)) == (200, 200)


def test_a_cluster_that_does_not_answer_holds_it_up_for_two_seconds() -> None:
    caches = running(limited(evict=300))
    caches.answers = False
    caches.cache("orders-1").executions = 340
    caches.measure()
    assert caches.driver.entity("orders-1").pressure is Pressure.ASKING
    caches.driver.wait(1.9)
    assert not [a for a in caches.driver.all if isinstance(a, act.Evict)]
    caches.driver.wait(0.1)
    assert caches.driver.did(act.Evict) == [act.Evict(FIRST, 130, ())]


def test_what_the_cluster_says_too_late_orders_nothing_again() -> None:
    caches = running(limited(evict=300))
    caches.answers = False
    caches.cache("orders-1").executions = 340
    caches.measure()
    caches.driver.wait(2.0)
    caches.driver.tell(events.ClosedFound("orders-1", 1, ("run-0",)))
    assert caches.driver.last == ()


@pytest.mark.parametrize("cluster", ["no agent", "down", "all go"])
def test_a_cluster_that_has_nothing_to_say_is_not_asked(cluster: str) -> None:
    caches = running(limited(evict=300))
    if cluster == "no agent":
        caches.driver.helper_dies(AGENT)
    elif cluster == "down":
        caches.driver.tell(events.ClusterChanged(reachable=False, refused=False, reason="away"))
    cache = caches.cache("orders-1")
    cache.executions, cache.running = 340, 240 if cluster == "all go" else 0
    caches.measure()
    assert not [a for a in caches.driver.all if isinstance(a, act.FindClosed)]
    assert len(caches.orders) == 1


def test_where_nothing_is_blocked_nothing_is_asked_for() -> None:
    caches = running(limited(evict=300))
    cache = caches.cache("orders-1")
    cache.executions = cache.running = 340
    caches.measure()
    assert caches.driver.last == ()


@given(
    rss=st.integers(0, 4 << 30),
    baseline=st.none() | st.integers(0, 4 << 30),
    cached=st.integers(0, 10_000),
    blocked=st.integers(1, 10_000),
    needed=st.integers(1, 4 << 30),
)
def test_at_least_one_goes_and_at_most_all_that_are_blocked(
    rss: int, baseline: int | None, cached: int, blocked: int, needed: int
) -> None:
    entity = Entity("orders-1", "orders", 1, State.READY, 0.0, baseline=baseline)
    reading = events.Reading("orders-1", 1, rss, None, cached, blocked, 0)
    count = eviction.executions(entity, reading, needed)
    assert 1 <= count <= blocked
    if count < blocked:
        assert count * eviction.cost(entity, reading) >= needed


def test_an_entity_that_never_says_what_it_evicted_is_not_waited_for_for_ever() -> None:
    caches = running(limited(evict=300))
    caches.answers = False
    caches.cache("orders-1").executions = 340
    caches.measure()
    caches.driver.wait(2.0 + eviction.ANSWER_LIMIT)
    entity = caches.driver.entity("orders-1")
    assert (entity.pressure, entity.relief.futile) == (Pressure.EVICTED, 1)
    caches.driver.wait(100.0)
    assert caches.driver.entity("orders-1").pressure is Pressure.NONE


@settings(max_examples=40)
@given(
    growth=st.integers(0, 60),
    base=st.integers(50, 400),
    each=st.integers(1, 8),
    closed=st.integers(0, 50),
    busy=st.integers(0, 30),
)
def test_it_never_thrashes_and_memory_stays_bounded(
    growth: int, base: int, each: int, closed: int, busy: int
) -> None:
    caches = Caches(up(limited(evict=300)), closed=closed)
    caches.of[FIRST] = Cache(base=base * MIB, each=each * MIB, running=busy)
    caches.measure()
    peak = 0
    for _ in range(300):
        before = len(caches.orders)
        caches.second(lambda cache: setattr(cache, "executions", cache.executions + growth))
        cache = caches.of[FIRST]
        peak = max(peak, cache.rss)
        if len(caches.orders) > before:
            assert caches.driver.did(act.Emit), "an eviction that nobody is told of"
    for (earlier, _), (later, _) in pairwise(caches.orders):
        gained = 300 * MIB - int(eviction.AIM * 300 * MIB)
        fell_well = growth * each * MIB * (later - earlier) >= gained
        assert later - earlier >= eviction.SETTLE or fell_well
    if growth * each * MIB < MIB * 6 and base + busy * each < 265:
        assert peak <= 300 * MIB + eviction.SETTLE * growth * each * MIB + 60 * each * MIB


def test_memory_that_wavers_about_the_limit_is_evicted_once() -> None:
    caches = running(limited(evict=300))
    caches.cache("orders-1").executions = 241
    for waver in (0, 12, -12, 5, 20, -3) * 50:
        caches.cache("orders-1").leaked = waver * MIB
        caches.second()
    assert len(caches.orders) == 1


def test_evictions_that_bring_nothing_become_seldom() -> None:
    caches = Caches(up(limited(evict=300)))
    caches.of[FIRST] = Cache(base=310 * MIB, each=100_000)
    times = []
    for _ in range(600):
        before = len(caches.orders)
        caches.second(lambda cache: setattr(cache, "executions", 10))
        if len(caches.orders) > before:
            times.append(caches.driver.now)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[:4] == [10.0, 20.0, 40.0, 60.0]
    assert set(waits[4:]) == {eviction.PATIENCE}


def test_evictions_that_bring_much_are_not_held_back() -> None:
    """It cannot come down to 0.9 of the limit, and yet each eviction keeps it from growing without bound."""
    caches = Caches(up(limited(evict=300)))
    caches.of[FIRST] = Cache(base=290 * MIB)
    peak = 0
    for _ in range(200):
        caches.second(lambda cache: setattr(cache, "executions", cache.executions + 10))
        peak = max(peak, caches.of[FIRST].rss)
    assert peak <= 360 * MIB


def test_memory_that_a_program_took_late_is_not_charged_to_its_executions_for_ever() -> None:
    caches = Caches(up(limited(evict=300)))
    caches.of[FIRST] = Cache(base=20 * MIB)
    caches.second()
    caches.of[FIRST].base = 220 * MIB
    peak = 0
    for _ in range(300):
        caches.second(lambda cache: setattr(cache, "executions", cache.executions + 3))
        peak = max(peak, caches.of[FIRST].rss)
    assert peak <= 340 * MIB
    assert caches.driver.entity("orders-1").relief.futile == 0
    first, second, *_ = (order.at_most for _, order in caches.orders)
    # The first one took the executions for three times as large as they are.
    assert second > 2 * first


def test_a_cache_that_was_full_when_first_measured_is_no_baseline_for_ever() -> None:
    caches = Caches(up(limited(evict=300)))
    caches.of[FIRST] = Cache(executions=200)
    caches.measure()
    caches.of[FIRST].executions = 0
    caches.second()
    assert caches.driver.entity("orders-1").baseline == 60 * MIB


@pytest.mark.parametrize("pressure", [Pressure.ASKING, Pressure.EVICTING, Pressure.EVICTED])
@pytest.mark.parametrize("end", ["dies", "drains"])
def test_an_eviction_ends_with_its_life(pressure: Pressure, end: str) -> None:
    caches = running(limited(evict=300))
    caches.answers = pressure is Pressure.EVICTED
    caches.cache("orders-1").executions = 340
    caches.measure()
    if pressure is Pressure.EVICTING:
        caches.driver.tell(events.ClosedFound("orders-1", 1, ()))
    assert caches.driver.entity("orders-1").pressure is pressure
    if end == "dies":
        caches.driver.die("orders-1")
        assert caches.driver.entity("orders-1").relief == Relief()
        assert caches.driver.entity("orders-1").baseline is None
    else:
        caches.driver.tell(events.RestartRequested("r", "orders-1"))
    assert caches.driver.entity("orders-1").pressure is Pressure.NONE
    for late in (events.ClosedFound("orders-1", 1, ()), events.Evicted("orders-1", 1, 5, 0, 9, 1)):
        assert caches.driver.tell(late) == ()


def test_a_stall_of_the_supervisor_is_no_silence_of_the_entity() -> None:
    caches = running(limited(evict=300))
    caches.answers = False
    caches.cache("orders-1").executions = 340
    caches.measure()
    caches.driver.tell(events.ClosedFound("orders-1", 1, ()))
    caches.driver.now += 100.0
    caches.driver.tell(events.Stalled(100.0))
    assert caches.driver.entity("orders-1").pressure is Pressure.EVICTING


@pytest.mark.parametrize("pressure", Pressure)
@pytest.mark.parametrize("step", eviction.Step)
def test_the_table_has_the_only_steps_of_an_eviction(pressure: Pressure, step: eviction.Step) -> None:
    if after := eviction.TRANSITIONS.get((pressure, step)):
        assert following(eviction.TRANSITIONS, pressure, step) is after
    else:
        with pytest.raises(IllegalTransition, match=pressure.value):
            following(eviction.TRANSITIONS, pressure, step)


def test_every_state_but_none_has_a_deadline() -> None:
    for pressure in Pressure:
        entity = Entity("orders-1", "orders", 1, State.READY, 0.0, pressure=pressure)
        assert (eviction.deadline(entity) is None) == (pressure is Pressure.NONE)


# Recycling


def test_where_eviction_did_not_help_another_is_ready_before_it_drains() -> None:
    caches = running(limited(evict=300, recycled=500))
    cache = caches.cache("orders-1")
    cache.executions, cache.leaked = 50, 500 * MIB
    caches.measure()
    assert len(caches.orders) == 1
    assert caches.driver.entity("orders-1").recycle == ""
    for _ in range(5):
        caches.second()
    # It leaks: its executions cost less than was thought, and 31 of them brought next to nothing.
    figures = "RSS 579.0 MiB is over recycle_above (500.0 MiB), and eviction did not help"
    assert told(caches, "memory.recycle") == [f"is recycled: {figures}"]
    assert caches.driver.entity("orders-1").recycle == f"memory: {figures}"
    assert caches.driver.state("orders-2") is State.STARTING
    assert caches.driver.state("orders-1") is State.READY
    caches.follow()
    assert min(caches.ready) == 1
    assert sorted(caches.driver.fleet.entities) == ["orders-1"]
    assert caches.driver.entity("orders-1").incarnation == 2
    assert caches.driver.entity("orders-1").recycle == ""


def test_an_eviction_that_helped_spares_it_the_recycling() -> None:
    caches = running(limited(evict=300, recycled=500))
    caches.cache("orders-1").executions = 600
    for _ in range(20):
        caches.second()
    assert told(caches, "memory.recycle") == []
    assert caches.cache("orders-1").rss == 270 * MIB


@pytest.mark.parametrize("evict", [None, 300])
def test_where_there_is_nothing_to_evict_it_is_recycled_at_once(evict: int | None) -> None:
    caches = running(limited(evict=evict, recycled=500))
    caches.cache("orders-1").leaked = 500 * MIB
    caches.measure()
    assert caches.driver.entity("orders-1").recycle
    assert caches.driver.state("orders-2") is State.STARTING


def test_a_place_is_not_recycled_over_and_over() -> None:
    caches = Caches(up(limited(recycled=50)))
    for _ in range(200):
        caches.second()
        caches.follow()
    assert len(told(caches, "memory.recycle")) == pytest.approx(200 / recycle.PAUSE, abs=1)


@pytest.mark.parametrize(("surge", "unavailable", "at_once"), [(1, 0, 1), (2, 0, 2), (0, 1, 1)])
def test_as_many_at_once_as_the_rollout_allows(surge: int, unavailable: int, at_once: int) -> None:
    pool = replace(limited(recycled=500, desired=4), rollout=Rollout(surge, unavailable))
    caches = running(pool)
    for name in tuple(caches.driver.fleet.entities):
        caches.cache(name).leaked = 500 * MIB
    caches.measure()
    most = 0
    while any(e.incarnation == 1 for n, e in caches.driver.fleet.entities.items() if int(n[-1]) <= 4):
        most = max(most, len(caches.driver.named(State.DRAINING)))
        if starting := caches.driver.named(State.STARTING):
            caches.driver.boot(*starting)
        else:
            caches.driver.leave()
        caches.ready.append(len(caches.driver.named(State.READY)))
    assert most == at_once
    assert min(caches.ready) == 4 - unavailable


def test_one_that_dies_before_its_turn_is_just_restarted() -> None:
    caches = running(limited(recycled=500))
    caches.cache("orders-1").leaked = 500 * MIB
    caches.measure()
    caches.driver.die("orders-1")
    assert caches.driver.entity("orders-1").recycle == ""
    caches.follow()
    assert sorted(caches.driver.fleet.entities) == ["orders-1"]
    assert caches.driver.entity("orders-1").incarnation == 2


# The kill


@pytest.mark.parametrize("state", [State.STARTING, State.READY, State.DRAINING])
def test_above_kill_above_it_is_killed_at_once_whatever_it_does(state: State) -> None:
    caches = running(limited(kill=700))
    if state is State.STARTING:
        caches.driver.die("orders-1", code=1)
        caches.driver.tell(events.Forked("orders-1", 2, 12))
    elif state is State.DRAINING:
        caches.driver.tell(events.RestartRequested("r", "orders-1"))
    assert caches.driver.state("orders-1") is state
    entity = caches.driver.entity("orders-1")
    caches.cache("orders-1").leaked = 700 * MIB
    caches.measure()
    assert caches.driver.did(act.Kill) == [act.Kill("orders-1", entity.incarnation, entity.pid)]
    assert not caches.driver.did(act.DumpStacks)
    assert caches.driver.entity("orders-1").leaving is Leaving.TOO_LARGE
    assert told(caches, "memory.kill") == ["RSS 760.0 MiB is over kill_above (700.0 MiB): is killed"]
    caches.measure()
    assert caches.driver.last == (), "one that is killed is not killed each second"


def test_the_kill_counts_as_a_crash_and_says_its_figures() -> None:
    pool = replace(limited(kill=700), restart=RestartPolicy(max_restarts=1))
    caches = running(pool)
    caches.cache("orders-1").leaked = 700 * MIB
    caches.measure()
    caches.driver.die("orders-1")
    entity = caches.driver.entity("orders-1")
    assert entity.restarts == 1
    assert entity.last_exit is not None
    assert entity.last_exit.cause == "RSS 760.0 MiB is over kill_above (700.0 MiB): killed by SIGKILL"
    caches.driver.boot()
    caches.cache("orders-1").leaked = 700 * MIB
    caches.measure()
    caches.driver.die("orders-1")
    assert caches.driver.state("orders-1") is State.FAILED


def test_limits_apply_live() -> None:
    caches = running(limited())
    caches.cache("orders-1").leaked = 700 * MIB
    caches.measure()
    assert caches.driver.last == ()
    caches.driver.tell(events.ReloadRequested("r", by_name(limited(recycled=500))))
    assert caches.driver.did(act.Accept)[0].message == "reloaded: change orders"
    caches.measure()
    assert caches.driver.entity("orders-1").recycle


def test_what_a_former_life_used_is_not_held_against_the_present_one() -> None:
    caches = running(limited(kill=700))
    caches.driver.die("orders-1")
    caches.driver.boot()
    reading = events.Reading("orders-1", 1, 900 * MIB, None, 0, 0, 0)
    assert caches.driver.tell(events.Measured((reading,))) == ()


@settings(max_examples=40)
@given(st.data())
def test_capacity_never_drops_and_memory_trouble_leaves_nothing_stuck(data: st.DataObject) -> None:
    """Two pools under a random load, with reloads, scaling and deaths between."""
    limits = st.none() | st.integers(100, 600).map(lambda size: size * MIB)
    pool = make_pool(
        "orders",
        data.draw(st.integers(1, 4)),
        hang=1e9,
        restart=RestartPolicy(max_restarts=10**6),
        memory=MemoryLimits(data.draw(limits), data.draw(limits), None),
    )
    caches = Caches(up(pool, budget=data.draw(limits)))
    driver = caches.driver
    for turn in range(data.draw(st.integers(1, 25))):
        names = sorted(driver.fleet.entities)
        name = data.draw(st.sampled_from(names))
        match data.draw(st.sampled_from(["grow", "leak", "die", "scale", "reload", "silence", "wait"])):
            case "grow" if driver.entity(name).is_live:
                caches.cache(name).executions += data.draw(st.integers(1, 400))
            case "leak" if driver.entity(name).is_live:
                caches.cache(name).leaked += data.draw(st.integers(1, 400)) * MIB
            case "die" if driver.entity(name).is_live:
                driver.die(name)
            case "scale":
                size = data.draw(st.integers(1, 4))
                driver.tell(events.ScaleRequested(f"s{turn}", {"orders": size}))
            case "reload":
                now = driver.fleet.pools["orders"]
                changed = replace(
                    now,
                    digest=data.draw(st.sampled_from(["d1", "d2"])),
                    memory=MemoryLimits(data.draw(limits), data.draw(limits), None),
                )
                driver.tell(events.ReloadRequested(f"r{turn}", by_name(changed), data.draw(limits)))
            case "silence":
                caches.answers = not caches.answers
            case _:
                driver.wait(data.draw(st.floats(0.1, 40.0)))
        told_to_go = {e.id for e in driver.fleet.entities.values() if e.state is State.DRAINING}
        caches.measure()
        ready = len(driver.named(State.READY))
        if set(driver.named(State.DRAINING)) - told_to_go:
            assert ready >= driver.fleet.pools["orders"].desired
        if data.draw(st.booleans()):
            caches.follow()
        for entity in driver.fleet.entities.values():
            assert entity.pressure is Pressure.NONE or entity.state is State.READY
        assert (due := next_deadline(driver.fleet)) is None or due > driver.now
    driver.tell(events.ReloadRequested("last", by_name(replace(pool, memory=MemoryLimits()))))
    caches.answers = True
    for _ in range(50):
        caches.follow()
        caches.second()
    driver.wait(200.0)
    desired = driver.fleet.pools["orders"].desired
    assert len(driver.fleet.entities) == desired
    for entity in driver.fleet.entities.values():
        assert (entity.state, entity.pressure, entity.recycle) == (State.READY, Pressure.NONE, "")
