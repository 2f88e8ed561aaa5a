"""A helper as a process: spawned by exec, spoken to over a SOCK_SEQPACKET pair. What it says is not
understood here."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from temporal_fleet.protocol.channel import Channel, ChannelClosed
from temporal_fleet.supervisor.shell.children import die_with_parent

FORK_SERVER = "temporal_fleet.entity.forkserver"
AGENT = "temporal_fleet.entity.agent"


class HelperNotReading(Exception):
    """The helper stands still or is gone: the message was not sent."""


class HelperProcess:
    """A fork server or the cluster agent.

    Raises OSError when it cannot be spawned.
    """

    def __init__(self, module: str, union: Any, environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.channel: Channel[Any] = Channel(ours, union)
        try:
            # -P: the working directory must not shadow what the helper imports.
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one Python thread
            )
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        return self._popen.pid

    def send(self, message: msgspec.Struct) -> None:
        try:
            self.channel.send(message)
        except (BlockingIOError, ChannelClosed) as error:
            raise HelperNotReading("it takes no messages: it stands still, or is gone") from error

    def receive(self) -> list[Any]:
        """Everything it said since the last time."""
        messages = []
        with contextlib.suppress(BlockingIOError, ChannelClosed):
            while True:
                messages.append(self.channel.receive())
        return messages

    def stop(self) -> None:
        """A helper goes when its pair closes."""
        self.channel.socket.shutdown(socket.SHUT_RDWR)

    def gone(self) -> None:
        """It was waited for, by the one that waits for every child."""
        self._popen.returncode = -signal.SIGKILL
        self.channel.close()
