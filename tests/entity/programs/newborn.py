"""A program that writes down, in each entity, what its process is like: `after_fork` sees it first."""

import gc
import json
import os
import random
import signal
import socket
import sys
import uuid
from pathlib import Path

from temporalio import activity
from temporalio.worker import _worker

print("imported once")

SEED = random.random()
signal.signal(signal.SIGUSR1, lambda *_: None)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGCHLD, lambda *_: os.waitpid(-1, 0))


@activity.defn
async def noop() -> None: ...


def write_down() -> None:
    facts = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "sockets": [file.name for file in Path("/proc/self/fd").iterdir() if _is_seqpacket(int(file.name))],
        "usr1": signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL,
        "hangup": signal.getsignal(signal.SIGHUP) == signal.SIG_DFL,
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "main": getattr(sys.modules["__main__"], "__file__", None),
        "random": random.random(),
        "uuid": str(uuid.uuid4()),
        "frozen": gc.get_freeze_count() > 10_000,
        "collects": gc.isenabled(),
        "build_id": _worker._default_build_id,
        "argv": sys.argv,
        "path": sys.path[0],
        "modules": sorted(sys.modules),
    }
    target = Path(os.environ["FACTS"]) / f"{os.getpid()}.json"
    partial = target.with_suffix(".partial")
    partial.write_text(json.dumps(facts))
    partial.rename(target)


def _is_seqpacket(descriptor: int) -> bool:
    try:
        duplicate = socket.socket(fileno=os.dup(descriptor))
    except OSError:
        return False
    with duplicate:
        return duplicate.type == socket.SOCK_SEQPACKET
