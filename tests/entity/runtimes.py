"""Runtimes of the SDK in the process of a test, which live as long as that.

One that ends, when the garbage collector comes to it, may abort the process that goes on.
"""

from temporalio.runtime import Runtime

_kept: list[Runtime] = []


def kept(runtime: Runtime) -> Runtime:
    _kept.append(runtime)
    return runtime
