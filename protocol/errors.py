"""Whose fault it is: our misuse of the protocol, or the peer's rubbish. The second never kills anyone."""


class ProtocolMisuse(Exception):
    """Our own code broke the protocol (too large a message, a path that cannot be bound). A bug, or a
    setting to change: let it surface."""


class PeerRubbish(Exception):
    """What arrived is not a message of this protocol. Count it, drop it, go on."""
