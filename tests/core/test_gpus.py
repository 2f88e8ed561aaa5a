"""GPUs: one entity's own at a time, given back by its death; who gets none waits and says so."""

from hypothesis import given
from hypothesis import strategies as st

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.books import books
from temporal_fleet.supervisor.core.fleet import Entity, Gpus, Rollout
from temporal_fleet.supervisor.core.gpus import allotted, why_it_waits
from temporal_fleet.supervisor.core.states import LIVE, State
from temporal_fleet.supervisor.core.view import entity_reason, pool_reason
from tests.core.driver import Driver, up
from tests.core.pools import by_name, make_pool

indices = st.lists(st.integers(0, 9), unique=True).map(tuple)
entities = st.builds(
    Entity,
    id=st.sampled_from("abcdef"),
    pool=st.just("other"),
    ordinal=st.just(1),
    state=st.sampled_from(State),
    since=st.just(0.0),
    gpus=indices,
)


@given(st.lists(entities), indices, st.integers(0, 4))
def test_what_is_allotted_is_free_and_who_waits_could_not_be_served(
    present: list[Entity], devices: tuple[int, ...], each: int
) -> None:
    pool = make_pool("orders", 1, gpus=Gpus(each, devices))
    taken = {gpu for entity in present if entity.state in LIVE for gpu in entity.gpus}
    found = allotted(pool, present)
    if found is None:
        assert len(set(devices) - taken) < each
        assert why_it_waits(pool, present)
    else:
        assert len(set(found)) == len(found) == each
        assert set(found) <= set(devices) - taken
        assert why_it_waits(pool, present) == ""


def test_each_entity_has_its_own_and_the_next_life_takes_what_a_death_gave_back() -> None:
    driver = up(make_pool("orders", 2, gpus=Gpus(1, (3, 5, 7))))
    forks = [action for action in driver.all if isinstance(action, act.Fork)]
    assert [fork.gpus for fork in forks] == [(3,), (5,)]
    driver.die("orders-1")
    assert driver.entity("orders-1").gpus == (3,)
    assert [fork.gpus for fork in driver.did(act.Fork)] == [(3,)]


def test_who_gets_none_waits_says_so_and_begins_when_one_is_given_back() -> None:
    driver = up(
        make_pool("billing", 1, gpus=Gpus(2, (0, 1))),
        make_pool("orders", 1, gpus=Gpus(1, (0, 1))),
        make_pool("mail", 1),
    )
    assert driver.state("orders-1") is State.WAITING
    assert driver.state("mail-1") is State.READY
    told = "waits for a GPU of [fleet] gpus (0 1), which billing-1 has"
    assert entity_reason(driver.fleet, driver.entity("orders-1")) == told
    assert pool_reason(driver.fleet, driver.fleet.pools["orders"]) == told
    driver.tell(events.DrainRequested("r", "billing"))
    assert driver.did(act.Fork) == [], "it still lives"
    driver.leave()
    assert [(fork.entity, fork.gpus) for fork in driver.did(act.Fork)] == [("orders-1", (0,))]


def test_a_roll_without_a_gpu_to_spare_goes_on_as_each_is_given_back() -> None:
    rollout = Rollout(max_surge=0, max_unavailable=1)
    driver = up(make_pool("orders", 2, gpus=Gpus(1, (0, 1)), rollout=rollout))
    wanted = make_pool("orders", 2, gpus=Gpus(1, (1, 2)), digest="d2", rollout=rollout)
    driver.tell(events.ReloadRequested("r", by_name(wanted)))
    for _ in range(2):
        driver.leave()
        driver.boot()
    assert sorted(gpu for e in driver.fleet.entities.values() for gpu in e.gpus) == [1, 2]
    assert any(isinstance(action, act.Converged) for action in driver.all)


def test_an_adopted_one_keeps_its_own_until_it_is_gone() -> None:
    before = up(make_pool("orders", 1, gpus=Gpus(1, (0, 1))))
    driver = Driver(
        make_pool("orders", 2, gpus=Gpus(1, (0, 1))),
        books=books(before.fleet),
        found=(events.Found("orders-1", 1, 11, (0,)), events.Found("old-1", 5, 77, (1,))),
    )
    driver.prepare()
    assert driver.entity("orders-1").gpus == (0,)
    assert driver.entity("orders-2").state is State.WAITING
    driver.die("old-1", code=0)
    assert driver.entity("orders-2").gpus == (1,)


def test_a_refused_fork_gives_its_gpus_back_and_leaves_no_files() -> None:
    driver = up(make_pool("orders", 1, gpus=Gpus(1, (0,))))
    driver.die("orders-1")
    life = driver.entity("orders-1").incarnation
    driver.tell(events.ForkRefused("orders-1", life, "out of processes"))
    assert driver.entity("orders-1").gpus == ()
    assert [action.life.incarnation for action in driver.did(act.Forget)] == [life]
    driver.wait(60.0)
    assert driver.entity("orders-1").gpus == (0,)
