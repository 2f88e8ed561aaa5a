"""What this process was begun with and has otherwise for itself: programs get it as it was."""

import os
import resource
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Inherited:
    umask: int
    open_files: tuple[int, int]
    """Soft and hard."""

    @classmethod
    def replaced(cls) -> "Inherited":
        """From now on nobody else reads what this process makes, and it may open as many files as it may at
        all: a socket and a pidfd for each entity."""
        inherited = cls(os.umask(0o077), resource.getrlimit(resource.RLIMIT_NOFILE))
        _, hard = inherited.open_files
        # More than the kernel allows by now cannot be had again.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return inherited

    def restore(self) -> None:
        """Of this process. Raises OSError, ValueError."""
        os.umask(self.umask)
        if resource.getrlimit(resource.RLIMIT_NOFILE) != self.open_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, self.open_files)
