"""The code that a fork server imports: which files it says are the program's own, and that what it has
imported stays what it runs."""

import asyncio
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from temporal_fleet.protocol.code import code_digest, content_digest, distributions, file_digest, unpack
from temporal_fleet.protocol.exits import ExitCode
from temporal_fleet.protocol.helpers import Prepared
from temporal_fleet.protocol.spec import ProgramSpec
from tests.conftest import DevServer
from tests.entity.forking import ForkServerProcess

ACTIVITY = "from temporalio import activity\n@activity.defn\nasync def noop() -> None: ...\n"
WORKFLOW = """
from temporalio import workflow
import {helper}
@workflow.defn
class Tell:
    @workflow.run
    async def run(self) -> str:
        return {helper}.WORD
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "program"
    made.mkdir()
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ForkServerProcess]:
    with ForkServerProcess(tmp_path) as fork_server:
        yield fork_server


def spec(folder: Path, program: str = "shop", **more: str) -> ProgramSpec:
    return ProgramSpec(program=program, path=str(folder), task_queue="unused", **more)  # type: ignore[arg-type]


def names(prepared: Prepared, folder: Path) -> set[str]:
    return {os.path.relpath(os.fsdecode(path), folder) for path in unpack(prepared.files)}


def digest_now(prepared: Prepared) -> str:
    """As somebody tells it who looks at the disk alone."""
    files = {path: file_digest(path) for path in unpack(prepared.files)}
    return code_digest(files, distributions(prepared.search_path))


def test_the_programs_own_modules_are_told_and_no_others(server: ForkServerProcess, folder: Path) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("")
    (folder / "shop" / "orders.py").write_text(
        f"import json, msgspec\nimport helper\nfrom . import prices\n{ACTIVITY}"
    )
    (folder / "shop" / "prices.py").write_text("")
    (folder / "shop" / "unused.py").write_text("")
    (folder / "helper.py").write_text("import vendored")
    (folder / "hooks.py").write_text("def connect(): ...")
    inner = folder / "venv" / "lib" / "site-packages"
    inner.mkdir(parents=True)
    (inner / "vendored.py").write_text("")
    (folder / "helper.py").write_text(f"import sys; sys.path.append({str(inner)!r}); import vendored")
    prepared = server.prepared(spec(folder, "shop.orders", after_fork="hooks:connect"))
    assert names(prepared, folder) == {
        "shop/__init__.py",
        "shop/orders.py",
        "shop/prices.py",
        "helper.py",
        "hooks.py",
    }
    assert prepared.code == digest_now(prepared)


def test_an_installed_program_is_its_own_package(tmp_path: Path, folder: Path) -> None:
    installed = folder / "site-packages"
    for package in ("acme", "other"):
        (installed / package).mkdir(parents=True)
        (installed / package / "__init__.py").write_text("")
    (installed / "acme" / "work.py").write_text(f"import other\n{ACTIVITY}")
    program = ProgramSpec(program="acme.work", path=str(tmp_path), task_queue="unused")
    with ForkServerProcess(tmp_path, env={"PYTHONPATH": str(installed)}) as server:
        assert names(server.prepared(program), installed) == {"acme/__init__.py", "acme/work.py"}


def test_modules_that_an_import_hook_of_the_programs_loads_are_told_too(
    server: ForkServerProcess, folder: Path
) -> None:
    (folder / "shop.py").write_text(f"import hook\nimport hooked\n{ACTIVITY}")
    (folder / "hook.py").write_text(
        "import importlib.machinery, sys\n"
        "class Loader(importlib.machinery.SourceFileLoader): ...\n"
        "class Hook:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        spec = importlib.machinery.PathFinder.find_spec(name, path, target)\n"
        "        if spec is not None and name == 'hooked':\n"
        "            spec.loader = Loader(name, spec.origin)\n"
        "            return spec\n"
        "sys.meta_path.insert(0, Hook())\n"
    )
    (folder / "hooked.py").write_text("")
    assert names(server.prepared(spec(folder)), folder) == {"shop.py", "hook.py", "hooked.py"}


def test_what_a_factory_imports_when_it_is_called_is_told(server: ForkServerProcess, folder: Path) -> None:
    (folder / "shop.py").write_text(
        "def worker():\n    from late import noop\n    return {'activities': [noop]}\n"
    )
    (folder / "late.py").write_text(ACTIVITY)
    assert names(server.prepared(spec(folder, "shop:worker")), folder) == {"shop.py", "late.py"}


def test_each_change_of_the_code_is_another_digest(server: ForkServerProcess, folder: Path) -> None:
    (folder / "shop.py").write_text(f"import helper, extra\n{ACTIVITY}")
    (folder / "helper.py").write_text("A = 1\n")
    (folder / "extra.py").write_text("")
    (folder / "shop-1.0.dist-info").mkdir()
    prepared = server.prepared(spec(folder))
    assert digest_now(prepared) == prepared.code
    (folder / "new.py").write_text("# nobody imports it")
    assert digest_now(prepared) == prepared.code
    (folder / "helper.py").write_text("A = 2\n")
    edited = digest_now(prepared)
    assert edited != prepared.code
    (folder / "helper.py").write_text("A = 1\n")
    assert digest_now(prepared) == prepared.code, "the same code again is no change"
    (folder / "extra.py").unlink()
    deleted = digest_now(prepared)
    assert deleted not in {prepared.code, edited}
    (folder / "extra.py").write_text("")
    (folder / "shop-1.0.dist-info").rename(folder / "shop-1.1.dist-info")
    assert digest_now(prepared) not in {prepared.code, edited, deleted}


def test_a_file_saved_twice_in_a_second_is_not_taken_from_old_bytecode(tmp_path: Path, folder: Path) -> None:
    source = folder / "shop.py"
    source.write_text(f"print('first')\n{ACTIVITY}")
    caching = {"PYTHONDONTWRITEBYTECODE": ""}
    with ForkServerProcess(tmp_path / "1", env=caching) as first:
        before = first.prepared(spec(folder))
    times = source.stat()
    source.write_text(f"print('other')\n{ACTIVITY}")
    # Bytecode remembers whole seconds and the size: to it, nothing happened.
    end_of_second = times.st_mtime_ns // 10**9 * 10**9 + 999_999_999
    (cached,) = (folder / "__pycache__").iterdir()
    os.utime(cached, ns=(end_of_second - 1, end_of_second - 1))
    os.utime(source, ns=(end_of_second, end_of_second))
    with ForkServerProcess(tmp_path / "2", env=caching) as second:
        after = second.prepared(spec(folder))
        log = second.log.read_text()
    assert "other" in log
    assert before.code != after.code
    assert unpack(after.files) == {os.fsencode(source): content_digest(source.read_bytes())}


def test_a_program_of_thousands_of_files_fits_a_frame(server: ForkServerProcess, folder: Path) -> None:
    many = 3000
    for number in range(many):
        (folder / f"a_module_with_a_rather_long_name_as_generated_code_has_{number}.py").touch()
    lines = "".join(f"import {file.stem}\n" for file in folder.glob("a_module*"))
    (folder / "shop.py").write_text(lines + ACTIVITY)
    assert len(unpack(server.prepared(spec(folder)).files)) == many + 1


def test_entities_run_the_code_that_was_imported_whatever_becomes_of_the_files(
    server: ForkServerProcess, folder: Path, dev_server: DevServer, task_queue: str
) -> None:
    (folder / "shop.py").write_text(WORKFLOW.format(helper="words"))
    (folder / "words.py").write_text("WORD = 'old'\n")
    program = ProgramSpec(program="shop", path=str(folder), task_queue=task_queue)
    server.prepared(program)
    (folder / "words.py").write_text("WORD = 'new'\n")
    (folder / "shop.py").write_text("this is not Python")
    server.fork("shop-1", program, dev_server.address)

    async def told() -> str:
        client = await Client.connect(dev_server.address)
        answer: str = await client.execute_workflow("Tell", id=str(uuid.uuid4()), task_queue=task_queue)
        return answer

    assert asyncio.run(told()) == "old"
    (folder / "words.py").unlink()
    assert asyncio.run(told()) == "old"
    os.kill(server.entities["shop-1"], 15)
    assert server.ended("shop-1") == ExitCode.STOPPED
