"""A helper that answers each order to fork with an announcement, and forks nobody."""

import sys

from temporal_fleet.protocol.channel import ChannelClosed, inherited_channel
from temporal_fleet.protocol.helpers import Forked, ForkEntity, ToForkServer

channel = inherited_channel(int(sys.argv[1]), ToForkServer)
try:
    while True:
        order = channel.receive()
        assert isinstance(order, ForkEntity)
        channel.send(Forked(entity=order.spec.entity, incarnation=order.spec.incarnation, pid=1))
except ChannelClosed:
    sys.exit(5)
