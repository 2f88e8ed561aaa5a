"""What fails by no fault of the program, and may work the next time. What the Cluster answers is judged in
connection."""

from temporalio.service import RPCError


def may_pass(error: BaseException | None) -> bool:
    """Whether an error, or what it comes of, is of a service that is away, or of a host that is out of
    memory, descriptors or threads. A file that is not there is no such thing."""
    while error is not None:
        is_of_a_file = isinstance(error, OSError) and error.filename is not None
        lacks_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
        if lacks_thread or (isinstance(error, (OSError, MemoryError, RPCError)) and not is_of_a_file):
            return True
        error = error.__cause__ or error.__context__
    return False
