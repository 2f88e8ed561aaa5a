"""When there is a web server, and that it never costs the fleet anything."""

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import HelperState, web_server
from temporal_fleet.supervisor.core.view import FleetState, fleet_state, http
from tests.core.driver import Driver, up
from tests.core.pools import make_pool

HERE, THERE = "127.0.0.1:9464", "127.0.0.1:0"
TAKEN = f'[fleet] http = "{HERE}": the port is taken'


def serving(address: str = HERE) -> Driver:
    driver = up(make_pool("orders", 1))
    driver.tell(events.HttpWanted(address))
    driver.prepare()
    return driver


def tell(driver: Driver, key: str, address: str, problem: str = "") -> None:
    helper = driver.fleet.helpers[web_server(key)]
    driver.tell(events.HttpTold(helper.key, helper.life, address, problem))


def told(driver: Driver) -> list[str]:
    return [emit.kind for emit in driver.did(act.Emit)]


def test_there_is_none_where_none_is_wanted() -> None:
    driver = up(make_pool("orders", 1))
    assert not any(key.kind.value == "web server" for key in driver.fleet.helpers)
    assert http(driver.fleet) == (None, "")


def test_it_is_there_from_the_start_where_the_config_has_it() -> None:
    driver = Driver()
    driver.tell(events.Started({"orders": make_pool("orders", 1)}, http=HERE))
    (started,) = [action for action in driver.did(act.StartHelper) if action.key == web_server(HERE)]
    assert started.program is None
    assert http(driver.fleet) == (None, "starts")


def test_where_it_serves_is_told_once_it_does() -> None:
    driver = serving(THERE)
    assert http(driver.fleet) == (None, "")
    tell(driver, THERE, "127.0.0.1:40404")
    assert told(driver) == ["http.serving"]
    assert http(driver.fleet) == ("127.0.0.1:40404", "")


def test_a_port_that_is_taken_is_told_and_the_fleet_runs() -> None:
    driver = serving()
    tell(driver, HERE, "", TAKEN)
    assert told(driver) == ["http.refused"]
    assert http(driver.fleet) == (None, TAKEN)
    assert fleet_state(driver.fleet) == (FleetState.RUNNING, "")
    assert driver.fleet.helpers[web_server(HERE)].state is HelperState.READY
    tell(driver, HERE, HERE)
    assert http(driver.fleet) == (HERE, "")


def test_another_address_is_another_process() -> None:
    driver = serving()
    driver.tell(events.HttpWanted(THERE))
    assert [action.key for action in driver.did(act.StartHelper)] == [web_server(THERE)]
    assert [action.key for action in driver.did(act.StopHelper)] == [web_server(HERE)]
    driver.helper_dies(web_server(HERE), "exit status 0")
    assert web_server(HERE) not in driver.fleet.helpers
    driver.tell(events.HttpWanted(None))
    assert [action.key for action in driver.did(act.StopHelper)] == [web_server(THERE)]


def test_one_that_dies_is_started_again_and_no_entity_cares() -> None:
    driver = serving()
    tell(driver, HERE, HERE)
    before = driver.fleet.entities
    driver.helper_dies(web_server(HERE))
    assert driver.fleet.helpers[web_server(HERE)].state is HelperState.STARTING
    driver.helper_dies(web_server(HERE))
    assert "killed by SIGKILL" in http(driver.fleet)[1]
    assert fleet_state(driver.fleet) == (FleetState.RUNNING, "")
    driver.wait(5.0)
    assert driver.fleet.helpers[web_server(HERE)].state is HelperState.STARTING
    assert driver.fleet.entities == before


def test_what_an_earlier_life_said_counts_for_nothing() -> None:
    driver = serving()
    driver.helper_dies(web_server(HERE))
    driver.wait(1.0)
    driver.prepare()
    driver.tell(events.HttpTold(web_server(HERE), 1, HERE, ""))
    assert told(driver) == []
    assert http(driver.fleet) == (None, "")


def test_it_goes_with_the_fleet() -> None:
    driver = serving()
    driver.tell(events.StopRequested(now=False))
    assert web_server(HERE) not in {action.key for action in driver.did(act.StopHelper)}
    driver.leave()
    assert web_server(HERE) in {action.key for action in driver.did(act.StopHelper)}
