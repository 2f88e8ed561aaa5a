"""A Worker Program that keeps the client that it was given."""

from typing import Any

from temporalio import activity
from temporalio.client import Client


def program(client: Client) -> dict[str, Any]:
    @activity.defn
    async def count_open() -> int:
        """Over the program's own client, and over the one that the SDK gives activities."""
        found = await client.count_workflows("ExecutionStatus = 'Running'")
        again = await activity.client().count_workflows("ExecutionStatus = 'Running'")
        return min(found.count, again.count)

    return {"activities": [count_open]}
