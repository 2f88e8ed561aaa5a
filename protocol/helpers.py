"""Messages between the supervisor and its helpers (fork servers, cluster agent) over a SOCK_SEQPACKET
pair, one frame a message. When the pair closes, the helper exits.

A helper gets the number of its end of the pair as its only command line argument.
"""

import msgspec

from temporal_fleet.protocol.spec import ClusterSpec, EntitySpec, ProgramSpec


class Prepare(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="prepare"):
    """To a fork server, first: import and validate this program."""

    program: ProgramSpec
    log_format: str = "json"
    """Of the fork server's own lines: `console` or `json`."""


class ForkEntity(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="fork"):
    """To a fork server that is prepared: fork one entity."""

    spec: EntitySpec


ToForkServer = Prepare | ForkEntity


class Prepared(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="prepared"):
    """The program is imported and validated; names of what it has."""

    workflows: list[str]
    activities: list[str]
    nexus_services: list[str]
    seconds: float


class ProgramRefused(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="refused"):
    """The program cannot be loaded or does not validate. Trying again changes nothing."""

    reason: str
    """One line: what, where, and what to do."""
    detail: str
    """The traceback, or every reason, a line each."""


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="forked"):
    """The entity exists, and may well be dead already."""

    entity: str
    incarnation: int
    pid: int


class ForkRefused(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="fork_refused"):
    """The kernel would not fork (EAGAIN, ENOMEM)."""

    entity: str
    incarnation: int
    reason: str


FromForkServer = Prepared | ProgramRefused | Forked | ForkRefused


class WatchCluster(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="watch"):
    """To the cluster agent, first, and again when it is another one: which Cluster to watch."""

    cluster: ClusterSpec
    fleet: str


ToAgent = WatchCluster


class ClusterState(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="cluster"):
    """From the agent: the Cluster as it is now. Sent at the first answer and at each change."""

    reachable: bool
    refused: bool
    """It answers, and refuses: credentials, namespace."""
    reason: str
    """Empty when all is well; else what is wrong, in one line."""
    address: str
    namespace: str


FromAgent = ClusterState
