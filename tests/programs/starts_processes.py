"""Each entity starts processes of its own: in its group, in a session of their own, a spawn pool."""

import concurrent.futures
import multiprocessing
import os
import subprocess

from shop import *  # noqa: F403

pools = []


def after_fork() -> None:
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "601"], start_new_session=True)
    # A daemon of the old school, which leaves its parent.
    subprocess.run(["sh", "-c", "setsid sleep 602 &"], check=True)
    pools.append(concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")))
    pools[0].submit(os.getpid).result()
