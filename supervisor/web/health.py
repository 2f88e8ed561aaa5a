"""Whether the fleet can work: each pool has its minimum, one entity that polls, or whose slots are all taken.
A report in, reasons out."""

from temporal_fleet.protocol.report import PoolReport, StatusReport


def unready(report: StatusReport) -> dict[str, str]:
    """By pool, or `fleet` or `cluster`: why not; empty: ready."""
    if report.fleet.state in ("draining", "stopped"):
        return {"fleet": f"it is {report.fleet.state}: {report.fleet.reason}".removesuffix(": ")}
    lacking = {pool.name: why for pool in report.pools if (why := _lacks(report, pool))}
    if not report.cluster.reachable:
        return {"cluster": report.cluster.reason or "nobody has reached it yet", **lacking}
    return lacking


def polling(report: StatusReport, pool: str) -> int:
    ready = [each for each in report.entities if each.pool == pool and each.state == "ready"]
    return sum(each.pollers > 0 or each.is_full for each in ready)


def _lacks(report: StatusReport, pool: PoolReport) -> str:
    """Empty: nothing. A pool that is kept at zero lacks nothing."""
    if pool.desired == 0 or polling(report, pool.name):
        return ""
    return pool.reason or ("its entities do not poll" if pool.ready else "none of its entities is ready")
