"""Reports of a fleet, written by hand: one pool, two entities."""

from msgspec.structs import replace

from temporal_fleet.protocol.report import EntityReport, PoolReport, StatusReport
from tests.cli.wire import entity, pool, report

ORDERS_1 = replace(
    entity("orders-1"), pollers=3, rss_bytes=60 << 20, cached_executions=7, heartbeat_age_s=0.5
)
ORDERS_2 = replace(entity("orders-2"), pollers=3, rss_bytes=40 << 20, cached_executions=1)


def of(
    *entities: EntityReport, pools: tuple[PoolReport, ...] = (), state: str = "running", reason: str = ""
) -> StatusReport:
    chosen = entities or (ORDERS_1, ORDERS_2)
    return report(state=state, reason=reason, pools=pools or (pool(desired=2, ready=2),), entities=chosen)
