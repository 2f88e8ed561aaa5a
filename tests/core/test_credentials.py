"""What is told of credentials that changed while they were in use."""

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import Level
from temporal_fleet.supervisor.core.estate import Life
from tests.core.driver import Driver
from tests.core.pools import make_pool


def told(driver: Driver, life: Life | None, problem: str) -> list[act.Emit]:
    done = driver.tell(events.CredentialsTried(life, problem))
    return [action for action in done if isinstance(action, act.Emit)]


def test_what_does_not_work_is_an_error_that_names_the_remedy() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    driver.boot("orders-1")
    [refused] = told(driver, Life("orders-1", 1), "api_key_file holds no key; correct the file")
    assert (refused.kind, refused.level, refused.entity) == ("credentials.refused", Level.ERROR, "orders-1")
    assert "correct the file" in refused.message
    [renewed] = told(driver, Life("orders-1", 1), "")
    assert (renewed.kind, renewed.level, renewed.pool) == ("credentials.renewed", Level.INFO, "orders")


def test_the_agent_says_that_it_is_the_agent() -> None:
    driver = Driver(make_pool("orders", 1))
    [refused] = told(driver, None, "no such file")
    assert "agent" in refused.message
    assert refused.entity is None


def test_a_former_life_is_not_listened_to() -> None:
    driver = Driver(make_pool("orders", 1))
    driver.prepare()
    driver.boot("orders-1")
    assert told(driver, Life("orders-1", 7), "no such file") == []
    assert told(driver, Life("billing-1", 1), "no such file") == []
