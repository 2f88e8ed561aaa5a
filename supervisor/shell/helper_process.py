"""A helper as a process: spawned by exec, spoken to over a SOCK_SEQPACKET pair. What it says is not
understood here."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from enum import Enum
from functools import partial
from typing import Any

import msgspec

from temporal_fleet.protocol.channel import Channel, ChannelClosed
from temporal_fleet.protocol.lifeline import die_with
from temporal_fleet.protocol.spec import Limits
from temporal_fleet.protocol.title import ROOM
from temporal_fleet.supervisor.shell.confinement import Confinement
from temporal_fleet.supervisor.shell.inherited import Inherited

FORK_SERVER = "temporal_fleet.entity.forkserver"
AGENT = "temporal_fleet.entity.agent"
WEB = "temporal_fleet.supervisor.web"

RUBBISH_LIMIT = 100
"""Frames that were no message, from one helper, before it is given up."""


class HelperGone(Exception):
    """The helper will not get the message: it is dead, or about to be."""


class _Pair(Enum):
    OPEN = "open"
    CLOSED = "closed"
    """By us, or by the helper, which is then killed: its end is on the way."""
    OVER = "over"
    """The helper was waited for: its PID is not its own any more."""


class HelperProcess:
    """A fork server, the cluster agent or a web server.

    Raises OSError when it cannot be spawned, or not so confined.
    """

    def __init__(
        self,
        module: str,
        union: Any,
        environment: Mapping[str, str],
        limits: Limits | None = None,
        inherited: Inherited | None = None,
    ) -> None:
        confinement = Confinement(limits or Limits(), inherited)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._channel: Channel[Any] = Channel(ours, union)
        self._pair = _Pair.OPEN
        self._unsent: deque[msgspec.Struct] = deque()
        """What the pair had no room for: a few hundred forks at once, or a helper that stands still."""
        obstacle, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # -P: the working directory must not shadow what the helper imports.
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno()), ROOM],
                pass_fds=[theirs.fileno()],
                env={**confinement.environment(), **environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=partial(_begin, confinement, os.getpid(), told),  # noqa: PLW1509 - one Python thread
            )
        except OSError:
            ours.close()
            raise
        except subprocess.SubprocessError as error:
            ours.close()
            raise OSError(os.read(obstacle, 1000).decode()) from error
        finally:
            theirs.close()
            os.close(obstacle)
            os.close(told)

    @property
    def pid(self) -> int:
        return self._popen.pid

    def fileno(self) -> int:
        return self._channel.fileno()

    @property
    def listens(self) -> bool:
        """Whether a poller should wake for what it says. A closed pair is readable for ever."""
        return self._pair is _Pair.OPEN

    @property
    def is_behind(self) -> bool:
        """Whether messages wait for room in the pair: `flush` when it is writable."""
        return bool(self._unsent)

    def send(self, message: msgspec.Struct) -> None:
        """Raises HelperGone."""
        if self._pair is not _Pair.OPEN:
            raise HelperGone("it takes no messages any more")
        self._unsent.append(message)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room. Raises HelperGone."""
        while self._unsent:
            try:
                self._channel.send(self._unsent[0])
            except BlockingIOError:
                return
            except (ChannelClosed, OSError) as error:
                self._give_up()
                raise HelperGone(f"it cannot be told: {error or 'its pair is closed'}") from error
            self._unsent.popleft()

    def receive(self) -> list[Any]:
        """Everything it said since the last time. One that closed the pair, or talks rubbish, is killed."""
        messages = []
        with contextlib.suppress(BlockingIOError):
            try:
                while True:
                    message = self._channel.receive_frame()
                    if message is not None:
                        messages.append(message)
                    elif self._channel.rubbish >= RUBBISH_LIMIT:
                        self._give_up()
            except ChannelClosed:
                self._give_up()
        return messages

    def stop(self) -> None:
        """A helper goes when its pair closes."""
        if self._pair is _Pair.OPEN:
            self._close_pair()

    def kill(self) -> None:
        if self._pair is not _Pair.OVER:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def was_waited_for(self) -> list[Any]:
        """By the one that waits for every child. The last it said."""
        self._pair = _Pair.OVER
        self._popen.returncode = -signal.SIGKILL
        last = self.receive()
        self._channel.close()
        return last

    def _give_up(self) -> None:
        """Of no more use to anybody: its end brings another one in its place."""
        if self._pair is _Pair.OPEN:
            self._close_pair()
            self.kill()

    def _close_pair(self) -> None:
        self._pair = _Pair.CLOSED
        self._unsent.clear()
        # What it said before can still be read; nothing more comes in.
        with contextlib.suppress(OSError):
            self._channel.socket.shutdown(socket.SHUT_RDWR)


def _begin(confinement: Confinement, parent: int, obstacle: int) -> None:
    """Between fork and exec. The kernel forgets at a change of user whom a process is to die with."""
    try:
        confinement.enter()
    except (OSError, ValueError) as error:
        os.write(obstacle, f"its `resources` cannot be had: {error}".encode())
        raise
    die_with(parent)
