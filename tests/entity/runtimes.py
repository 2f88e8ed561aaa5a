"""Runtimes of the SDK in the process of a test, which live as long as that.

One that ends, when the garbage collector comes to it, may abort the process that goes on.
"""

from functools import cache

from temporalio.runtime import Runtime

from temporal_fleet.entity.runtime import client_runtime

_kept: list[Runtime] = []


def kept(runtime: Runtime) -> Runtime:
    _kept.append(runtime)
    return runtime


@cache
def for_clients() -> Runtime:
    """One for all of them: each has threads and descriptors of its own."""
    return client_runtime()
