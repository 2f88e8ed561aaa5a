"""Looks at the Cluster that operators asked for, over the real socket; the agent's part is the test's."""

import pytest

from temporal_fleet.protocol.codec import Decoder, encode
from temporal_fleet.protocol.control import ControlReply, ExaminationReply, ExamineCluster, Rejected
from temporal_fleet.protocol.examination import Examination
from temporal_fleet.protocol.helpers import Examine, Examined
from temporal_fleet.protocol.rundir import RunDirectory
from temporal_fleet.supervisor.core.fleet import Fleet
from temporal_fleet.supervisor.shell.control import Control
from temporal_fleet.supervisor.shell.examinations import LIMIT, Examinations
from tests.shell.conftest import Dealer
from tests.waiting import wait_until

FLEET = Fleet(embedded=False)
SEEN = Examination(address="cluster:7233", namespace="default")


class Desk:
    def __init__(self, paths: RunDirectory, control: Control, dealer: Dealer) -> None:
        self.examinations = Examinations(control)
        self.orders: list[Examine] = []
        self.agent_is_there = True
        self._control = control
        self._operator = dealer(paths.control, "an operator")

    def ask(self, request: str, now: float) -> None:
        self._operator.send(encode(ExamineCluster(id=request)))
        (asked,) = wait_until(lambda: list(self._control.receive()), what="the request")
        assert isinstance(asked.request, ExamineCluster)
        self.examinations.ask(self._tell_agent, FLEET, asked.operator, asked.request, now)

    def hear(self) -> ControlReply:
        assert self._operator.poll(5000), "no reply came"
        return Decoder[ControlReply](ControlReply).decode(self._operator.recv())

    def _tell_agent(self, order: Examine) -> bool:
        self.orders.append(order)
        return self.agent_is_there


@pytest.fixture
def desk(paths: RunDirectory, control: Control, dealer: Dealer) -> Desk:
    return Desk(paths, control, dealer)


def test_what_the_agent_saw_goes_to_who_asked(desk: Desk) -> None:
    desk.ask("one", 100.0)
    desk.ask("two", 101.0)
    first, second = desk.orders
    desk.examinations.answer(Examined(request=second.request, examination=SEEN))
    assert desk.hear() == ExaminationReply(id="two", examination=SEEN)
    assert desk.examinations.due == 100.0 + LIMIT
    desk.examinations.answer(Examined(request=first.request, examination=SEEN))
    assert desk.hear() == ExaminationReply(id="one", examination=SEEN)


def test_without_an_agent_it_is_rejected(desk: Desk) -> None:
    desk.agent_is_there = False
    desk.ask("one", 100.0)
    reply = desk.hear()
    assert isinstance(reply, Rejected)
    assert "no cluster agent" in reply.problems[0]


def test_an_agent_that_does_not_answer_is_not_waited_for_for_ever(desk: Desk) -> None:
    desk.ask("one", 100.0)
    desk.examinations.expire(100.0 + LIMIT - 0.1)
    desk.examinations.expire(100.0 + LIMIT)
    reply = desk.hear()
    assert isinstance(reply, Rejected)
    assert "did not answer in 30 s" in reply.problems[0]
    # It comes too late, and harms nobody.
    desk.examinations.answer(Examined(request=desk.orders[0].request, examination=SEEN))
