"""A program whose user may have PROCESSES processes, counted by the kernel: no more than that."""

import os
import resource

from temporalio import activity

if os.getuid() == 0:
    # Root has no such limit. A number that is nobody's.
    os.setresuid(54321, 54321, 54321)
resource.setrlimit(resource.RLIMIT_NPROC, (int(os.environ["PROCESSES"]),) * 2)


@activity.defn
async def noop() -> None: ...
