"""The shell: I/O around the pure core. Thin, no policy: what to do is decided in core, how is known here."""

import sys

# structlog looks for rich when it is imported, to paint tracebacks that ours does not paint: an eighth of a
# second and 4 MiB in a process that stays for ever and runs nobody else's code. What is None there is absent.
if "structlog" not in sys.modules and "rich" not in sys.modules:
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
