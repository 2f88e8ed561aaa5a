"""What must hold of changes, whatever happens: each is answered, carried through or taken back, one after the
other, and nothing else ever changes the config. Kept in books of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from temporal_fleet.supervisor.core import actions as act
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.fleet import Fleet, Pool
from temporal_fleet.supervisor.core.ledger import OrderState

_AFTER = {
    OrderState.IMPORTING: {OrderState.ROLLING, OrderState.REJECTED, OrderState.SUPERSEDED},
    OrderState.ROLLING: {OrderState.DONE, OrderState.FAILED, OrderState.SUPERSEDED},
}


@dataclass(slots=True)
class ChangeBooks:
    seen: Counter[str]
    orders: dict[str, OrderState] = field(default_factory=dict)
    """Of each request: what became of it, as far as anybody was told."""
    ids: dict[str, int] = field(default_factory=dict)
    configs: dict[int, Mapping[str, Pool]] = field(default_factory=dict)
    """Of each generation."""
    told: set[str] = field(default_factory=set)
    """Requests of which anybody was told more than that they are under way."""

    def of_next_supervisor(self) -> "ChangeBooks":
        return ChangeBooks(self.seen, self.orders, self.ids, told=self.told)

    def _go_on(self, after: Fleet) -> None:
        """What anybody was told of is in the ledger; nothing is under way any more."""
        there = {order.request: order for order in after.changes}
        for request, order in there.items():
            state = self.orders.get(request, OrderState.IMPORTING)
            assert not order.is_open, f"{order}: nobody carries it out"
            assert state in _AFTER or order.state is state, f"{order} was {state}"
            self.seen["interrupted"] += state in _AFTER
            self.ids[request] = order.id
        lost = [name for name, state in self.orders.items() if state in _AFTER and name not in there]
        assert not self.told.intersection(lost), f"{lost} are lost"
        self.orders = {name: there[name].state if name in there else s for name, s in self.orders.items()}
        for name in lost:
            del self.orders[name], self.ids[name]

    def check(
        self, before: Fleet, event: events.Event, after: Fleet, actions: tuple[act.Action, ...]
    ) -> None:
        if isinstance(event, events.Started):
            self._go_on(after)
        request = getattr(event, "request", None)
        if request is not None:
            assert request not in self.orders
            self.orders[request] = OrderState.IMPORTING
            self.ids[request] = max(self.ids.values(), default=0) + 1
        told = [a for a in actions if isinstance(a, act.Accept | act.Reject | act.Converged | act.Failed)]
        answered = {answer.request for answer in told}
        for answer in told:
            self._book(answer, after)
        for action in actions:
            if isinstance(action, act.Tell):
                is_open = self.orders[action.request] in _AFTER
                assert is_open or action.request in answered, f"{action}, and nobody listens any more"
        self._the_ledger_says_so(after)
        self._one_at_a_time(after)
        self._config_changes_with_a_change(before, event, after, told)

    def _book(self, action: act.Accept | act.Reject | act.Converged | act.Failed, after: Fleet) -> None:
        before = self.orders[action.request]
        self.told.add(action.request)
        assert action.change == self.ids[action.request], f"{action} is of another change"
        match action:
            case act.Accept():
                state = OrderState.ROLLING
            case act.Converged():
                state = OrderState.DONE
            case act.Reject(problems=problems) | act.Failed(problems=problems):
                assert problems, f"{action} does not say why"
                overtaken = problems[0].startswith("superseded")
                ended = OrderState.REJECTED if isinstance(action, act.Reject) else OrderState.FAILED
                state = OrderState.SUPERSEDED if overtaken else ended
                self.seen["superseded"] += overtaken
        assert state in _AFTER.get(before, set()), f"{action}: it was {before.value}"
        self.orders[action.request] = state

    def _the_ledger_says_so(self, after: Fleet) -> None:
        for order in after.changes:
            assert order.state is self.orders[order.request], f"{order}, and it was told otherwise"
            assert order.id == self.ids[order.request]
            assert (order.ended_at is None) == (order.state in _AFTER), f"{order}"
        open_ = {name for name, state in self.orders.items() if state in _AFTER}
        assert open_ <= {order.request for order in after.changes}, "the ledger lost an open change"

    def _one_at_a_time(self, after: Fleet) -> None:
        importing = {name for name, state in self.orders.items() if state is OrderState.IMPORTING}
        waiting = {order.event.request for order in (after.pending, *after.waiting) if order is not None}
        assert importing == waiting, f"{importing} wait, the core knows of {waiting}"
        rolling = [name for name, state in self.orders.items() if state is OrderState.ROLLING]
        assert rolling == ([after.roll.request] if after.roll else []), f"{rolling} roll: {after.roll}"

    def _config_changes_with_a_change(
        self, before: Fleet, event: events.Event, after: Fleet, told: Sequence[act.Action]
    ) -> None:
        restored = [a for a in told if isinstance(a, act.Failed) and a.restored is not None]
        accepted = any(isinstance(action, act.Accept) for action in told)
        if isinstance(event, events.Started):
            self.configs = {after.generation: after.pools}
        elif restored:
            self.seen["taken back"] += 1
            generation = restored[-1].restored
            assert generation is not None
            assert accepted or after.generation == generation
            assert accepted or after.pools == self.configs[generation], "it was not taken back wholly"
        elif isinstance(event, events.HelperReady) and after.epoch > before.epoch and not accepted:
            # Who was adopted was forked from other code.
            self.seen["other code"] += 1
            versions = {name: pool.digest for name, pool in before.pools.items()}
            assert {name: pool.digest for name, pool in after.pools.items()} == versions
            self.configs[after.generation] = after.pools
        elif not accepted:
            assert after.pools == before.pools, "the config changed, and no change was accepted"
            assert after.generation == before.generation
            assert after.drained == before.drained
        if accepted:
            self.configs[after.generation] = after.pools
