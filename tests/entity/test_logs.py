"""What an entity's log lines look like, and whose handlers they go through. In processes of their own, since
logging is set up for a whole process."""

import asyncio
import json
import logging
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.runtime import MetricBuffer
from temporalio.worker import Worker

from temporal_fleet.entity.logs import CoreNoise
from temporal_fleet.entity.runtime import entity_runtime
from tests.conftest import DevServer, end_process, free_port, start_dev_server
from tests.entity.life_program import greet
from tests.entity.runtimes import kept
from tests.waiting import eventually

SET_UP = """
import logging, sys
from pathlib import Path
from temporal_fleet.protocol.spec import ClusterSpec
from temporal_fleet.entity.logs import configure_logging, entity_lines
from tests.entity.lives import entity_spec, program_spec
def configure_all(form="json", level="info"):
    spec = entity_spec(
        Path("/run/shop"), program_spec("queue"), ClusterSpec(), log_format=form, log_level=level)
    return configure_logging(spec, entity_lines(spec))
def configure(form="json", level="info"):
    return configure_all(form, level).logger
"""


def said(program: str) -> str:
    """What this program writes on standard error."""
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", SET_UP + program],
        cwd=root,
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 0, result.stderr
    return result.stderr


def lines(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(program).splitlines()]


def test_ours_and_everybodys_lines_have_one_form() -> None:
    ours, theirs = lines("""
log = configure()
log.info("ours", exit="stopped")
logging.getLogger("shop.orders").info("theirs: %d", 5, extra={"order": 7})
""")
    assert (ours["event"], ours["exit"], ours["level"], ours["entity"]) == (
        "ours",
        "stopped",
        "info",
        "orders-1",
    )
    assert (theirs["event"], theirs["logger"], theirs["entity"]) == ("theirs: 5", "shop.orders", "orders-1")
    assert ours.keys() - {"exit"} == theirs.keys()


def test_a_traceback_is_part_of_its_line() -> None:
    (line,) = lines("""
configure()
try:
    raise ConnectionError("the database is away")
except ConnectionError:
    logging.getLogger("shop").exception("no order")
""")
    assert line["event"] == "no order"
    assert "the database is away" in line["exception"]
    assert "Traceback" in said("""
log = configure("console")
try:
    1 / 0
except ZeroDivisionError as error:
    log.error("it crashed", exc_info=error)
""")


def test_a_plain_configuration_of_the_program_gives_way_and_keeps_its_level() -> None:
    (line,) = lines("""
logging.basicConfig(level=logging.ERROR)
configure()
logging.getLogger("shop").warning("not this one")
logging.getLogger("shop").error("this one")
""")
    assert line["event"] == "this one"


def test_the_level_is_the_fleets_and_may_change() -> None:
    said = lines("""
configured = configure_all(level="warning")
log, levels = configured.logger, configured.levels
def say(when):
    for level in ("debug", "info", "warning", "error"):
        getattr(log, level)(f"{when} ours")
        getattr(logging.getLogger("shop"), level)(f"{when} theirs")
say("first")
levels.follow("debug")
say("then")
levels.follow("error")
say("at last")
levels.follow("a level of another version")
say("still")
""")
    counts = Counter(line["event"] for line in said)
    assert counts == {
        **{"first ours": 2, "first theirs": 2, "then ours": 4, "then theirs": 4},
        **{"at last ours": 1, "at last theirs": 1, "still ours": 1, "still theirs": 1},
    }


def test_a_level_of_the_programs_own_stays() -> None:
    said = lines("""
logging.basicConfig(level=logging.ERROR)
configured = configure_all()
log, levels = configured.logger, configured.levels
levels.follow("debug")
log.debug("ours")
logging.getLogger("shop").warning("not this one")
""")
    assert [line["event"] for line in said] == ["ours"]


def test_a_time_that_the_sdk_does_not_keep_is_not_told() -> None:
    (line,) = lines("""
configure()
logging.getLogger("temporalio.worker._worker").info("Beginning worker shutdown, will wait 365 days")
logging.getLogger("temporalio.worker._worker").info("Worker cancelled, shutting down")
""")
    assert line["event"] == "Worker cancelled, shutting down"


def test_handlers_of_the_programs_own_making_stay() -> None:
    text = said("""
class Own(logging.Handler):
    def emit(self, record):
        print("own:", record.getMessage(), file=sys.stderr)
logging.getLogger().addHandler(Own())
log = configure()
logging.getLogger("shop").warning("theirs")
log.info("ours")
""")
    theirs, ours = map(json.loads, text.splitlines())
    assert (theirs["event"], theirs["stream"]) == ("own: theirs", "stderr")
    assert (ours["event"], ours["logger"]) == ("ours", "temporal_fleet")


def test_what_is_printed_is_a_line_of_the_entity() -> None:
    whole, first, second, rubbish, structured, last = lines("""
import os
os.dup2(2, 1)
configure()
sys.stdout.write("half a ")
print("line")
print()
print("x" * 20_000, file=sys.stderr)
sys.stderr.buffer.write(b"no \\xff UTF-8\\n")
sys.stderr.flush()
print('{"message": "in JSON", "level": "ERROR", "order": 7, "pid": "mine"}', file=sys.stderr)
print("no end", end="", file=sys.stderr)
from temporal_fleet.entity.streams import flush_streams
flush_streams()
""")
    assert (whole["event"], whole["stream"], whole["level"]) == ("half a line", "stdout", "info")
    assert (whole["process"], whole["pool"], whole["entity"]) == ("entity", "orders", "orders-1")
    assert first["event"] + second["event"] == "x" * 20_000
    assert (rubbish["event"], rubbish["level"]) == ("no \\xff UTF-8", "warning")
    assert (structured["event"], structured["level"], structured["order"]) == ("in JSON", "error", 7)
    assert structured["pid"] == last["pid"] == whole["pid"]
    assert last["event"] == "no end"


def test_structlog_of_the_programs_own_is_left_alone() -> None:
    text = said("""
import structlog
structlog.configure(processors=[structlog.processors.KeyValueRenderer()],
                    logger_factory=structlog.PrintLoggerFactory(sys.stderr))
configure().info("ours")
structlog.get_logger().info("theirs", order=5)
""")
    ours, theirs = text.splitlines()
    assert json.loads(ours)["event"] == "ours"
    assert theirs == "order=5 event='theirs'"


def test_metrics_that_the_sdk_drops_are_counted_and_not_shown(dev_server: DevServer) -> None:
    noise = CoreNoise()
    shown: list[str] = []

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    logger = logging.getLogger("test.core")
    logger.addFilter(noise)
    logger.addHandler(Shown())

    async def overflow() -> None:
        runtime = kept(entity_runtime(MetricBuffer(4), logger.name))
        client = await Client.connect(dev_server.address, runtime=runtime)
        while noise.dropped_metrics == 0:
            await client.count_workflows()

    asyncio.run(asyncio.wait_for(overflow(), 20))
    assert not [line for line in shown if "metrics" in line]


def test_a_cluster_that_is_away_is_no_flood(tmp_path: Path) -> None:
    logger = logging.getLogger("test.outage")
    said: set[str] = set()
    shown: list[str] = []

    class Said(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            said.add(record.temporal_log.target)  # type: ignore[attr-defined]
            return True

    class Shown(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            shown.append(record.getMessage())

    logger.addFilter(Said())
    logger.addFilter(CoreNoise())
    logger.addHandler(Shown())
    port = free_port()
    log = tmp_path / "log"
    # Not one that ends polls: the core would wait for that, and complain.
    server = start_dev_server(port, log, settings=())

    async def outlive_an_outage() -> None:
        nonlocal server
        runtime = kept(entity_runtime(MetricBuffer(10_000), logger.name))
        client = await Client.connect(f"127.0.0.1:{port}", runtime=runtime)
        async with Worker(client, task_queue="unused", activities=[greet], build_id="test"):
            end_process(server)
            await eventually(
                lambda: {"temporalio_client::retry", "temporalio_sdk_core::worker::heartbeat"} <= said,
                within=60,
                what="what the core says of an outage",
            )
            # So that the Worker comes to its end.
            server = await asyncio.to_thread(start_dev_server, port, log, settings=())

    try:
        asyncio.run(outlive_an_outage())
    finally:
        end_process(server)
    assert shown == []


def test_the_same_complaint_is_shown_once_a_minute() -> None:
    noise = CoreNoise()

    def shown(message: str, at: float) -> bool:
        record = logging.makeLogRecord({"msg": message, "created": at})
        return noise.filter(record)

    assert shown("no heartbeat", 0)
    assert not shown("no heartbeat", 59)
    assert shown("something else", 59)
    assert shown("no heartbeat", 60)
    # The clock was set back.
    assert shown("no heartbeat", 0)
