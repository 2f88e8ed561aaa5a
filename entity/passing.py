"""What fails by no fault of the program, and may work the next time. What the Cluster answers is judged in
connection."""

import errno
import socket
from collections.abc import Iterator

from temporalio.service import RPCError

_OF_SERVICES = (ConnectionError, TimeoutError, socket.gaierror, RPCError, MemoryError)
_OF_HOSTS = frozenset(
    {
        errno.EAGAIN,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ENETUNREACH,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.EHOSTDOWN,
    }
)


def may_pass(error: BaseException) -> bool:
    """Whether an error, or what it comes of, is of a service that is away, or of a host that is out of
    memory, descriptors or threads. A file that is not there is no such thing."""
    return any(_may_pass(each) for each in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it comes of, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):
        return "start new thread" in str(error)
    return isinstance(error, _OF_SERVICES) or (isinstance(error, OSError) and error.errno in _OF_HOSTS)
