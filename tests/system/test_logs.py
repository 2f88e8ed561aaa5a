"""What a fleet writes: who says it, in which task, and that no secret is in any of it."""

import asyncio
import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import psutil
from temporalio.client import Client

from tests.conftest import DevServer
from tests.entity.servers import served
from tests.fleet import COMMAND, command_line
from tests.system.conftest import MakeFleet
from tests.system.test_credentials import Ca
from tests.waiting import wait_until

SECRETS = ("what-the-key-hides", "what-the-pool-hides", "what-it-will-hide")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in file.read_text().splitlines() if text.startswith("{")]


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
        return text


async def _tell(address: str, task_queue: str) -> str:
    client = await Client.connect(address)
    handle = await client.start_workflow("Tell", id=task_queue, task_queue=task_queue)
    await handle.result()
    return handle.result_run_id or ""


def test_lines_tell_their_task_and_no_secret_is_in_anything_that_is_written(
    make_fleet: MakeFleet, dev_server: DevServer, task_queue: str, tmp_path: Path
) -> None:
    ca = Ca(tmp_path / "ca")
    ca.write(tmp_path)
    (tmp_path / "api-key").write_text(SECRETS[0])
    private = [line for line in (tmp_path / "tls.key").read_text().splitlines() if len(line) > 16][1:-1]
    fails = tmp_path / "fails"
    with served(ca.front(dev_server.address).handle) as address:
        fleet = make_fleet(
            program="teller:worker",
            fleet='log_dir = "logs"\nhttp = "127.0.0.1:0"',
            cluster=f'[cluster]\naddress = "{address}"\napi_key_file = "api-key"\n'
            '[cluster.tls]\nserver_name = "cluster.test"\n'
            'server_ca = "ca.pem"\nclient_cert = "tls.pem"\nclient_key = "tls.key"\n',
            pool='after_fork = "teller:after_fork"\n'
            f'env = {{ SECRET = "{SECRETS[1]}", FAILS = "{fails}", '
            f'KEYS = "{tmp_path / "api-key"}:{tmp_path / "tls.key"}" }}\n',
        ).start()
        before = fleet.wait_running()
        events = tmp_path / "events"
        with events.open("wb") as output:
            following = subprocess.Popen(
                [COMMAND, "events", "--json", "-c", fleet.config], stdout=output, stderr=subprocess.PIPE
            )
        assert following.stderr is not None
        assert b"listening" in following.stderr.readline()
        run_id = asyncio.run(_tell(dev_server.address, task_queue))

        log = tmp_path / "logs" / "orders-1.log"
        told = {line["event"]: line for line in lines(log)}
        for event in ("a workflow logs", "a workflow prints"):
            line = told[event]
            assert (line["workflow_id"], line["run_id"], line["workflow_type"]) == (
                task_queue,
                run_id,
                "Tell",
            )
            assert (line["task_queue"], line["attempt"], line["incarnation"]) == (task_queue, 1, 1)
        assert told["an activity logs [hidden]"]["activity_type"] == "tell"
        in_thread = told["a thread prints [hidden]"]
        assert (in_thread["activity_type"], in_thread["activity_id"]) == ("tell_in_a_thread", "2")
        assert (in_thread["run_id"], in_thread["stream"]) == (run_id, "stderr")
        assert told["half a line, and the other half"]["activity_id"] == "2"
        assert "a C library writes" in log.read_text().splitlines()
        failed = next(line for line in lines(log) if "an activity fails with" in line.get("exception", ""))
        assert "[hidden]" in failed["exception"]

        # Its hook fails with all the secrets in what it raises.
        fails.touch()
        pid = before.entities[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        fleet.wait(lambda s: "no database for" in str(s.entities[0].last_exit), what="its hook fails")
        fleet.edit(SECRETS[1], SECRETS[2])
        everything = [
            fleet.command(*words).stdout for words in (["status", "--json"], ["plan"], ["logs", "-n", "1000"])
        ]
        assert "env.SECRET changed" in everything[1]
        fleet.edit(SECRETS[2], SECRETS[1])
        fails.unlink()
        http = fleet.wait_running().fleet.http
        everything += [fleet.command("dump", "orders-1").stdout]
        everything += [page(f"http://{http}{path}") for path in ("/metrics", "/status.json", "/")]
        assert all(everything)
        titles = [command_line(process) for process in (psutil.Process(fleet.pid), *fleet.remember_all())]
        assert {title.removeprefix("temporal-fleet: test ").split()[0] for title in titles} == {
            "supervisor",
            "fork",
            "agent",
            "web",
            "orders-1",
        }
        everything += titles
        wait_until(lambda: b"no database for" in events.read_bytes(), what="the events tell of it")
        following.send_signal(signal.SIGINT)
        following.communicate()
        assert fleet.stop() == 0
    everything += [file.read_text() for file in (events, fleet.log, *(tmp_path / "logs").iterdir())]
    written = "\n".join(everything)
    assert written.count("[hidden]") > 10
    assert "a C library writes" in written
    assert not [secret for secret in (*SECRETS, *private) if secret in written]
