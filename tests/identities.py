"""Identities as the Cluster sees them, wherever the tests run."""

import re


def plain(identity: str) -> str:
    """Without what tells the processes of containers apart: FLEET/ENTITY.INCARNATION@HOST:PID."""
    return re.sub(r"-[0-9a-f]{6}$", "", identity)
