"""Where the files for Prometheus and Grafana are, and the queries in a dashboard."""

from pathlib import Path

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "temporal-fleet.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"


def queries(node: object) -> list[str]:
    """Every one in a dashboard, or in a part of it."""
    if isinstance(node, list):
        return [query for each in node for query in queries(each)]
    if isinstance(node, dict):
        own = [node["expr"]] if isinstance(node.get("expr"), str) else []
        return own + [query for each in node.values() for query in queries(each)]
    return []
