"""A cluster agent that writes down what it is told, in the file that its environment names."""

import os
import sys
from pathlib import Path

import msgspec

from temporal_fleet.protocol.channel import ChannelClosed, inherited_channel
from temporal_fleet.protocol.helpers import ToAgent

channel = inherited_channel(int(sys.argv[1]), ToAgent)
try:
    with Path(os.environ["NOTES"]).open("ab", buffering=0) as notes:
        while True:
            notes.write(msgspec.json.encode(channel.receive()) + b"\n")
except ChannelClosed:
    pass
