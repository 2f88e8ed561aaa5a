"""The helper processes (fork servers, cluster agent, dev server, web server): which are wanted, and what
becomes of one that dies. One mechanism for the four kinds."""

from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.core.actions import KillHelper, Level, StartHelper, StopHelper
from temporal_fleet.supervisor.core.draft import Draft
from temporal_fleet.supervisor.core.fleet import (
    AGENT,
    DEV_SERVER,
    Cluster,
    Helper,
    HelperKey,
    HelperKind,
    HelperState,
    Phase,
    Pool,
    web_server,
)
from temporal_fleet.supervisor.core.lives import forsake
from temporal_fleet.supervisor.core.restart import HEALTHY_AFTER, RestartPolicy, delay, next_try

BOOT = 60.0
"""Seconds for the first word of the agent and of the web server, and for the dev server."""
STOP_LIMIT = 5.0
"""Seconds from being told to go to SIGKILL."""
_POLICY = RestartPolicy()


HelperEvent = (
    events.HelperReady | events.HelperRefused | events.HelperDied | events.HttpWanted | events.HttpTold
)


def happened(draft: Draft, event: HelperEvent) -> None:
    match event:
        case events.HelperReady():
            _ready(draft, event)
        case events.HelperRefused():
            _refused(draft, event)
        case events.HelperDied():
            _died(draft, event)
        case events.HttpWanted():
            draft.http = event.address
        case events.HttpTold():
            _http_told(draft, event)


def _ready(draft: Draft, event: events.HelperReady) -> None:
    if (helper := _current(draft, event.key, event.life)) and helper.state is HelperState.STARTING:
        took = draft.now - helper.since
        draft.set_helper(
            helper, state=HelperState.READY, since=draft.now, deadline=None, code=event.code, reason=""
        )
        level = Level.INFO if helper.streak else Level.DEBUG
        draft.emit("helper.ready", level, f"{helper}: ready in {took:.2f} s")


def _refused(draft: Draft, event: events.HelperRefused) -> None:
    """It leaves by itself now, and is killed if it does not."""
    helper = _current(draft, event.key, event.life)
    if helper is None or helper.state is not HelperState.STARTING:
        return
    draft.set_helper(
        helper,
        state=HelperState.REFUSED,
        since=draft.now,
        deadline=draft.now + STOP_LIMIT,
        reason=event.reason,
    )
    if any(pool.fork_server == event.key for pool in draft.pools.values()):
        told = f"{event.reason}; once it is mended: temporal-fleet restart"
        draft.emit("program.refused", Level.ERROR, told)


def _died(draft: Draft, event: events.HelperDied) -> None:
    helper = _current(draft, event.key, event.life)
    if helper is None or not helper.is_live:
        return
    if helper.state is HelperState.REFUSED:
        draft.set_helper(helper, deadline=None)
    elif helper.state is HelperState.STOPPING or (
        # `stop --now` kills it.
        event.key.kind is HelperKind.FORK_SERVER and draft.phase is not Phase.RUNNING
    ):
        del draft.helpers[event.key]
    else:
        _back_off(draft, helper, event.reason)
    if event.key.kind is HelperKind.FORK_SERVER:
        forsake(draft, event.key)
    elif event.key == AGENT and draft.cluster.is_down:
        # Nobody is left to tell when it is up again, and it must not hold back the entities.
        draft.cluster = Cluster()


def _http_told(draft: Draft, event: events.HttpTold) -> None:
    """Told at each change. A web server that cannot serve goes on trying: that never costs the fleet."""
    helper = _current(draft, event.key, event.life)
    if helper is None or helper.state is not HelperState.READY:
        return
    draft.set_helper(helper, address=event.address, reason=event.problem)
    if event.problem:
        draft.emit("http.refused", Level.ERROR, event.problem)
    else:
        told = f"http://{event.address}/ shows the fleet, /metrics, /healthz and /readyz"
        draft.emit("http.serving", Level.INFO, told)


def reconcile(draft: Draft) -> None:
    """Start what is wanted and absent, stop what is there and not wanted."""
    wanted = _wanted(draft)
    for key, pool in wanted.items():
        if key not in draft.helpers:
            _start(draft, key, pool)
    in_use = {e.fork_server for e in draft.entities.values() if e.is_live}
    for helper in tuple(draft.helpers.values()):
        if helper.key in wanted:
            continue
        if not helper.is_live:
            del draft.helpers[helper.key]
        elif helper.state is not HelperState.STOPPING and helper.key not in in_use:
            draft.set_helper(
                helper, state=HelperState.STOPPING, since=draft.now, deadline=draft.now + STOP_LIMIT
            )
            draft.act(StopHelper(helper.key))


def expire(draft: Draft) -> None:
    wanted = _wanted(draft)
    for helper in tuple(draft.helpers.values()):
        if helper.deadline is None or draft.now < helper.deadline:
            continue
        if helper.is_live:
            draft.set_helper(helper, deadline=draft.now + STOP_LIMIT)
            draft.act(KillHelper(helper.key))
            if helper.state is HelperState.STARTING:
                took = draft.now - helper.since
                told = f"{helper}: not ready after {took:.0f} s: is killed"
                draft.emit("helper.killed", Level.ERROR, told)
        elif helper.key in wanted:
            _start(draft, helper.key, wanted[helper.key], helper.streak)


def kill_silent(draft: Draft, key: HelperKey, why: str) -> None:
    """One that is there and does not do its work makes room for the next."""
    helper = draft.helpers.get(key)
    if helper is None or helper.state is not HelperState.READY:
        return
    draft.set_helper(helper, state=HelperState.STOPPING, since=draft.now, deadline=draft.now + STOP_LIMIT)
    draft.act(KillHelper(key))
    draft.emit("helper.killed", Level.ERROR, f"{helper}: {why}: is killed")


def kill_fork_servers(draft: Draft) -> None:
    """One that is in the middle of an import does not see that it is told to go."""
    for helper in draft.helpers.values():
        order = KillHelper(helper.key)
        if helper.key.kind is HelperKind.FORK_SERVER and helper.is_live and order not in draft.actions:
            draft.act(order)


def _wanted(draft: Draft) -> dict[HelperKey, Pool | None]:
    """The helpers that must be there; of a fork server also a pool that says what to load."""
    dev_server: dict[HelperKey, Pool | None] = {DEV_SERVER: None} if draft.embedded else {}
    if draft.phase not in {Phase.RUNNING, Phase.DRAINING}:
        # The dev server outlives whoever may still talk to it.
        return dev_server if draft.helpers.keys() - {DEV_SERVER} else {}
    pools = [*draft.pools.values(), *(draft.pending.pools.values() if draft.pending else ())]
    if draft.roll is not None:
        pools += draft.roll.fallback.pools.values()
    fork_servers = {pool.fork_server: pool for pool in reversed(pools)}
    web: dict[HelperKey, Pool | None] = {web_server(draft.http): None} if draft.http else {}
    return {**dev_server, AGENT: None, **web, **(fork_servers if draft.phase is Phase.RUNNING else {})}


def _back_off(draft: Draft, helper: Helper, reason: str) -> None:
    healthy = helper.state is HelperState.READY and draft.now - helper.since >= HEALTHY_AFTER
    streak = 1 if healthy else helper.streak + 1
    wait = delay(_POLICY, streak, f"{helper.key}.{helper.life}")
    pool = _wanted(draft).get(helper.key)
    if helper.program and helper.state is HelperState.STARTING:
        how = f"the process that imports it {reason}; see what it printed"
        if pool is not None and draft.now - helper.since >= pool.boot:
            how = (
                f"it is not imported within boot = {pool.boot:g} s, so it was killed; "
                "see what it does at import, or give the pool a longer boot"
            )
        told = f'program = "{helper.program}": {how}'
    else:
        told = f"{helper}: {reason}"
    draft.set_helper(
        helper,
        state=HelperState.BACKOFF,
        since=draft.now,
        deadline=draft.now + wait,
        streak=streak,
        reason=told,
    )
    draft.emit("helper.died", Level.ERROR, f"{told}; {next_try(wait)}")


def _start(draft: Draft, key: HelperKey, pool: Pool | None, streak: int = 0) -> None:
    draft.helper_lives += 1
    former = draft.helpers.get(key)
    draft.helpers[key] = Helper(
        key=key,
        state=HelperState.STARTING,
        since=draft.now,
        life=draft.helper_lives,
        deadline=draft.now + (pool.boot if pool else BOOT),
        streak=streak,
        program=pool.program.program if pool else "",
        # Until it has imported it again: what is not known cannot be told to have changed.
        code=former.code if former is not None else "",
        reason=f"imports {pool.program.program}" if pool else "",
    )
    draft.act(StartHelper(key, draft.helper_lives, pool.program if pool else None))


def _current(draft: Draft, key: HelperKey, life: int) -> Helper | None:
    helper = draft.helpers.get(key)
    return helper if helper is not None and helper.life == life else None
