"""The fork server: a real process that imports programs, judges them, and forks entities that are ours."""

import asyncio
import json
import os
import re
import signal
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from temporalio.client import Client

from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.helpers import ForkRefused, LogSettings, Prepare, Prepared, ProgramRefused
from temporal_fleet.protocol.process import start_time
from temporal_fleet.protocol.spec import ProgramSpec
from tests.conftest import DevServer
from tests.entity.forking import ForkServerProcess
from tests.waiting import wait_until

PROGRAMS = Path(__file__).parent / "programs"
NOBODY = "127.0.0.1:1"

NEWBORN = ProgramSpec(
    program="newborn", path=str(PROGRAMS), task_queue="unused", after_fork="newborn:write_down"
)


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    folder = tmp_path / "facts"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, facts: Path) -> Iterator[ForkServerProcess]:
    with ForkServerProcess(tmp_path, env={"FACTS": str(facts)}) as fork_server:
        yield fork_server


def written(facts: Path, pid: int) -> dict[str, Any]:
    file = facts / f"{pid}.json"
    wait_until(file.exists, what=f"the facts of {pid}")
    return dict(json.loads(file.read_text()))


def program(folder: Path, source: str, attribute: str = "", **settings: Any) -> ProgramSpec:
    (folder / "shop.py").write_text(source)
    name = f"shop:{attribute}" if attribute else "shop"
    return ProgramSpec(program=name, path=str(folder), task_queue="unused", **settings)


def test_entities_are_our_children_and_like_new(server: ForkServerProcess, facts: Path) -> None:
    assert server.prepared(NEWBORN).activities == ["noop"]
    pids = [server.fork(f"newborn-{number}", NEWBORN, NOBODY) for number in (1, 2)]
    first, second = (written(facts, pid) for pid in pids)
    for pid, fact in zip(pids, (first, second), strict=True):
        assert fact["pid"] == fact["session"] == pid
        assert fact["sockets"] == [], "the pair is closed in an entity"
        assert fact["usr1"], "the handlers that the program set when imported are gone"
        assert fact["hangup"]
        assert fact["blocked"] == []
        assert fact["main"] is None
        assert fact["frozen"]
        assert fact["collects"]
        assert fact["build_id"], "or Worker() would hash the code of every module"
        assert fact["argv"] == ["newborn"]
        assert fact["path"] == str(PROGRAMS)
    assert first["random"] != second["random"]
    assert first["uuid"] != second["uuid"]
    # Nobody else could wait for it.
    assert server.ended("newborn-1") == ExitCode.CLUSTER_UNREACHABLE
    assert server.ended("newborn-2") == ExitCode.CLUSTER_UNREACHABLE
    assert server.log.read_text().count("imported once") == 1, (
        "what was printed before the fork is not repeated"
    )


def test_an_entity_survives_its_fork_server(
    server: ForkServerProcess, dev_server: DevServer, task_queue: str
) -> None:
    spec = ProgramSpec(program="pools", path=str(PROGRAMS), task_queue=task_queue)
    server.prepared(spec)
    pid = server.fork("pools-1", spec, dev_server.address)
    server.process.kill()
    server.process.wait()
    assert asyncio.run(result_of("Greet", [], dev_server, task_queue)) == "the user's entity"
    assert psutil.Process(pid).ppid() == os.getpid()
    os.kill(pid, signal.SIGTERM)
    assert server.ended("pools-1") == ExitCode.STOPPED


async def result_of(workflow: str, arguments: list[Any], dev_server: DevServer, task_queue: str) -> Any:
    client = await Client.connect(dev_server.address)
    return await client.execute_workflow(
        workflow, args=arguments, id=str(uuid.uuid4()), task_queue=task_queue
    )


async def activity_result(name: str, arguments: list[Any], dev_server: DevServer, task_queue: str) -> Any:
    client = await Client.connect(dev_server.address)
    return await client.execute_activity(
        name,
        args=arguments,
        id=str(uuid.uuid4()),
        task_queue=task_queue,
        start_to_close_timeout=timedelta(seconds=60),
        schedule_to_close_timeout=timedelta(seconds=60),
    )


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_program_owns_our_names_and_uses_process_pools(
    tmp_path: Path, dev_server: DevServer, task_queue: str, method: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    # Neither the working directory nor PYTHONPATH may get in the way, though both hold our names.
    for name in ("entity", "protocol", "supervisor"):
        (elsewhere / f"{name}.py").write_text("raise AssertionError('imported from the wrong place')")
    spec = ProgramSpec(program="pools", path=str(PROGRAMS), task_queue=task_queue)
    with ForkServerProcess(tmp_path, cwd=elsewhere, env={"PYTHONPATH": str(elsewhere)}) as server:
        server.prepared(spec)
        server.fork("pools-1", spec, dev_server.address)
        result = asyncio.run(activity_result("in_pool", [method], dev_server, task_queue))
        names = ["the user's entity", "the user's protocol", "the user's supervisor"]
        assert result == [[*names, "0"], [*names, "1"]]
        os.kill(server.entities["pools-1"], signal.SIGTERM)
        assert server.ended("pools-1") == ExitCode.STOPPED


@pytest.mark.parametrize("program", ["imports", "imports:plugin"])
def test_nothing_is_imported_after_the_fork(
    server: ForkServerProcess, dev_server: DevServer, task_queue: str, program: str
) -> None:
    spec = ProgramSpec(program=program, path=str(PROGRAMS), task_queue=task_queue)
    server.prepared(spec)
    server.fork("imports-1", spec, dev_server.address)
    assert asyncio.run(result_of("ImportedSince", [], dev_server, task_queue)) == []


def test_a_signal_to_a_newborn_is_not_lost(server: ForkServerProcess, tmp_path: Path) -> None:
    source = ACTIVITY + "import asyncio\nasync def wait(): await asyncio.Event().wait()\n"
    spec = program(tmp_path, source, after_fork="shop:wait")
    server.prepared(spec)
    os.kill(server.fork("shop-1", spec, NOBODY), signal.SIGTERM)
    assert server.ended("shop-1") == ExitCode.STOPPED


def test_signals_of_the_terminal_are_not_for_the_fork_server(server: ForkServerProcess) -> None:
    server.prepared(NEWBORN)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(server.process.pid, number)
    server.fork("newborn-1", NEWBORN, NOBODY)
    assert server.process.poll() is None


def test_nor_while_it_imports(server: ForkServerProcess, tmp_path: Path) -> None:
    source = (
        ACTIVITY
        + """
import os, signal, subprocess
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(os.getpid(), number)
child = subprocess.Popen(["sleep", "60"])
child.terminate()
assert child.wait() == -signal.SIGTERM, "what the program starts is as deaf as we are"
"""
    )
    server.prepared(program(tmp_path, source))


def test_it_goes_when_the_pair_closes(server: ForkServerProcess) -> None:
    server.prepared(NEWBORN)
    server.channel.close()
    assert server.process.wait(20) == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_fork_that_the_kernel_refuses_is_said_so(tmp_path: Path, processes: str) -> None:
    """One: not even the intermediate process. Two: it, and no entity."""
    spec = ProgramSpec(program="crowded", path=str(PROGRAMS), task_queue="unused")
    with ForkServerProcess(tmp_path, env={"PROCESSES": processes}) as server:
        server.prepared(spec)
        for _ in range(2):
            server.ask("crowded-1", spec, NOBODY)
            answer = server.answer()
            assert isinstance(answer, ForkRefused), answer
            assert (answer.entity, answer.incarnation) == ("crowded-1", 1)
            assert answer.reason.startswith("EAGAIN: ")


def test_numbers_of_numpy_differ_between_entities(
    server: ForkServerProcess, tmp_path: Path, facts: Path
) -> None:
    """Its global generator is copied by a fork, and nobody else seeds it anew. (No numpy here: a module of
    that name that says when it was told to.)"""
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").touch()
    (tmp_path / "numpy" / "random.py").write_text(
        "import os, pathlib\n"
        "def seed():\n    pathlib.Path(os.environ['FACTS'], f'{os.getpid()}.seeded').touch()\n"
    )
    spec = program(tmp_path, ACTIVITY + "import numpy.random\n")
    server.prepared(spec)
    seeded = facts / f"{server.fork('shop-1', spec, NOBODY)}.seeded"
    wait_until(seeded.exists, what="an entity that seeds numpy's generator")


ACTIVITY = """
from temporalio import activity

@activity.defn
async def greet() -> None: ...
"""

WORKFLOW = """
from temporalio import workflow

@workflow.defn
class Order:
    @workflow.run
    async def run(self) -> None: ...

@workflow.defn
class Refund:
    @workflow.run
    async def run(self) -> None: ...
"""

NOT_FOR_THE_SANDBOX = """
import datetime
OPENED = datetime.datetime.now()
"""

THREAD = """
import threading
stop = threading.Event()
threading.Thread(target=stop.wait, name="poller", daemon=True).start()
"""

RUNTIME = """
from temporalio.runtime import Runtime, TelemetryConfig
runtime = Runtime(telemetry=TelemetryConfig())
"""

CLIENT = """
import asyncio
from temporalio.client import Client
client = asyncio.run(Client.connect("127.0.0.1:1"))
"""


# A thread that Python knows nothing of, as libraries in C start them.
NATIVE_THREAD = """
import ctypes
libc = ctypes.CDLL(None)
thread = ctypes.c_ulong()
assert libc.pthread_create(ctypes.byref(thread), None, libc.pause, None) == 0
"""

ENDED_BEFORE_A_FORK = """
import os

def end():
    if thread.value:
        libc.pthread_cancel(thread)
        libc.pthread_join(thread, None)
        thread.value = 0

os.register_at_fork(before=end)
"""


def test_native_threads_that_end_before_a_fork_are_tolerated(
    server: ForkServerProcess, tmp_path: Path
) -> None:
    server.prepared(program(tmp_path, ACTIVITY + NATIVE_THREAD + ENDED_BEFORE_A_FORK))


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import nowhere_at_all", ["No module named 'nowhere_at_all' (", "shop.py:1)"]),
        (WORKFLOW + NOT_FOR_THE_SANDBOX, ["workflow Order (", "shop.py:15", "pass through", "(and 1 more)"]),
        (ACTIVITY + THREAD, ["leaves 1 thread running", "poller, ", "`after_fork`"]),
        # Their names come a moment after they do.
        (ACTIVITY + RUNTIME, [" threads running", "clients and runtimes in `after_fork`"]),
        (ACTIVITY + NATIVE_THREAD, ["leaves 1 thread running", "python"]),
        (ACTIVITY + CLIENT, ["no fork survives", "shop.py:9)"]),
        ("raise RuntimeError('words ' * 200_000)", ["RuntimeError: words words", "…", "shop.py:1)"]),
    ],
)
def test_modules_that_are_refused(
    server: ForkServerProcess, tmp_path: Path, source: str, expected: list[str]
) -> None:
    answer = server.prepare(program(tmp_path, source))
    assert isinstance(answer, ProgramRefused), answer
    for part in expected:
        assert part in answer.reason
    assert server.process.wait(20) == ExitCode.PROGRAM_UNUSABLE


def test_every_workflow_that_fails_is_named(server: ForkServerProcess, tmp_path: Path) -> None:
    answer = server.prepare(program(tmp_path, WORKFLOW + NOT_FOR_THE_SANDBOX))
    assert isinstance(answer, ProgramRefused)
    assert [line.split(" (")[0] for line in answer.detail.splitlines()] == [
        "workflow Order",
        "workflow Refund",
    ]


LET_THROUGH = """
import dataclasses
from temporalio.plugin import SimplePlugin
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

def let_through(runner):
    return dataclasses.replace(runner, restrictions=runner.restrictions.with_passthrough_modules("shop"))

plugin = SimplePlugin("shop", workflows=[Order], workflow_runner=let_through)
strict = SimplePlugin("shop", workflows=[Order])

def make():
    passing = SandboxRestrictions.default.with_passthrough_modules("shop")
    return {"workflows": [Order], "workflow_runner": SandboxedWorkflowRunner(passing)}

def make_strict(client):
    return {"workflows": [Order]}

def make_with_thread():
    import threading
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    return {"workflows": [Order], "workflow_runner": make()["workflow_runner"]}

def make_owned():
    return {"workflows": [Order], "identity": "me"}

def make_broken():
    import nowhere_at_all

async def make_from_cluster(client):
    await client.workflow_service.get_system_info(__import__("temporalio.api.workflowservice.v1").api.
        workflowservice.v1.GetSystemInfoRequest())

connection = None

def make_after_fork():
    return {"workflows": connection.workflows}

def connect():
    raise AssertionError("only in an entity")

def make_failing():
    raise RuntimeError("no database password set")

def make_exit():
    import sys
    sys.exit(3)

async def make_exit_in_a_task():
    import asyncio
    async def leave():
        raise SystemExit("no licence")
    asyncio.get_running_loop().create_task(leave())
    await asyncio.sleep(60)

def make_interrupted(client):
    raise KeyboardInterrupt

async def make_from_a_client_of_its_own():
    from temporalio.client import Client
    await Client.connect("127.0.0.1:1")

async def make_wrapping(client):
    try:
        await make_from_cluster(client)
    except Exception as error:
        raise ValueError("no settings in the Cluster") from error

class Failing(SimplePlugin):
    def __init__(self):
        super().__init__("shop", workflows=[Order], workflow_runner=let_through)

    def configure_worker(self, config):
        raise LookupError("no shop of that name")

def make_hang():
    import subprocess
    child = subprocess.Popen(["sleep", "600"])
    print(f"child {child.pid}", flush=True)
    child.wait()

def make_abort():
    import os
    os.abort()

class Retargeting(SimplePlugin):
    def __init__(self):
        super().__init__("shop", workflows=[Order], workflow_runner=let_through)

    def configure_worker(self, config):
        config["task_queue"] = "elsewhere"
        return super().configure_worker(config)
"""


@pytest.mark.parametrize("attribute", ["plugin", "make", "make_with_thread"])
def test_what_plugins_and_factories_let_through_the_sandbox_passes(
    server: ForkServerProcess, tmp_path: Path, attribute: str
) -> None:
    spec = program(tmp_path, WORKFLOW + NOT_FOR_THE_SANDBOX + LET_THROUGH, attribute)
    assert server.prepared(spec).workflows == ["Order"]
    # Whatever the trial left behind is not here.
    server.fork("shop-1", spec, NOBODY)


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ("strict", ["workflow Order (", "pass through"]),
        ("make_strict", ["workflow Order (", "pass through"]),
        ("make_owned", ["`identity` is the fleet's own"]),
        ("make_broken", ["No module named 'nowhere_at_all' ("]),
        ("Retargeting", ["sets `task_queue`", "set the pool's `task_queue`"]),
        ("make_failing", ["fails when it is called: RuntimeError: no database password set (", "shop.py:"]),
        ("make_failing", ["set what it needs in the pool's `env`"]),
        ("make_after_fork", ["AttributeError: ", "shop.py:", "`after_fork`"]),
        ("Failing", ["LookupError: no shop of that name (", "shop.py:"]),
        ("make_exit", ["exits with status 3 when it is called (", "shop.py:"]),
        ("make_exit_in_a_task", ["exits with status 1, saying 'no licence', when it is called ("]),
        ("make_interrupted", ["fails when it is called: KeyboardInterrupt (", "shop.py:"]),
    ],
)
def test_plugins_and_factories_that_are_refused(
    server: ForkServerProcess, tmp_path: Path, attribute: str, expected: list[str]
) -> None:
    answer = server.prepare(program(tmp_path, WORKFLOW + NOT_FOR_THE_SANDBOX + LET_THROUGH, attribute))
    assert isinstance(answer, ProgramRefused), answer
    for part in expected:
        assert part in answer.reason
    assert "\n" not in answer.reason
    assert "Traceback" not in server.log.read_text(), "all is said by the refusal"


@pytest.mark.parametrize(
    ("attribute", "settings"),
    [
        ("make_from_cluster", {}),
        ("make_from_a_client_of_its_own", {}),
        ("make_wrapping", {}),
        ("make_after_fork", {"after_fork": "shop:connect"}),
        ("make_exit", {"after_fork": "shop:connect"}),
        ("make_failing", {"gpus": True}),
        ("make_abort", {}),
    ],
)
def test_what_only_an_entity_can_tell_is_no_refusal(
    server: ForkServerProcess, tmp_path: Path, attribute: str, settings: dict[str, Any]
) -> None:
    spec = program(tmp_path, WORKFLOW + NOT_FOR_THE_SANDBOX + LET_THROUGH, attribute, **settings)
    assert server.prepared(spec).workflows == []
    assert "could not be validated before its entities start" in server.log.read_text()


def test_notes_of_a_program_have_the_form_of_all_other_lines(
    server: ForkServerProcess, tmp_path: Path
) -> None:
    source = WORKFLOW + NOT_FOR_THE_SANDBOX + LET_THROUGH
    server.prepared(program(tmp_path, source, "make_from_cluster"))
    (line,) = map(json.loads, server.log.read_text().splitlines())
    assert (line["level"], line["program"]) == ("warning", "shop:make_from_cluster")
    assert "could not be validated before its entities start: it fails when it is called" in line["event"]


def test_notes_for_people_are_no_json(server: ForkServerProcess, tmp_path: Path) -> None:
    spec = program(tmp_path, WORKFLOW + NOT_FOR_THE_SANDBOX + LET_THROUGH, "make_from_cluster")
    server.channel.send(Prepare(program=spec, log=LogSettings(log_format="console")))
    assert isinstance(server.answer(), Prepared)
    (line,) = server.log.read_text().splitlines()
    assert "[warning  ] program = " in line


def test_a_trial_that_does_not_end_is_ended_with_all_it_started(
    server: ForkServerProcess, tmp_path: Path
) -> None:
    server.prepared(program(tmp_path, WORKFLOW + NOT_FOR_THE_SANDBOX + LET_THROUGH, "make_hang"))
    log = server.log.read_text()
    assert "it was not done after 10 s" in log
    (child,) = re.findall(r"child (\d+)", log)
    wait_until(lambda: start_time(int(child)) is None, what="the end of what the trial started")


def test_a_program_that_starts_processes_does_not_keep_the_pair_open(
    server: ForkServerProcess, tmp_path: Path
) -> None:
    source = ACTIVITY + "import subprocess\nchild = subprocess.Popen(['sleep', '60'], close_fds=False)\n"
    server.prepared(program(tmp_path, source))
    (child,) = psutil.Process(server.process.pid).children()
    try:
        server.process.kill()
        server.process.wait()
        assert server.answer() is None
    finally:
        child.kill()


def test_rubbish_is_dropped(server: ForkServerProcess) -> None:
    server.channel.socket.send(b"GET / HTTP/1.1")
    assert isinstance(server.prepare(NEWBORN), Prepared)
    assert "dropped a frame" in server.log.read_text()
