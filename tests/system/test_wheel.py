"""The wheel that users install: all that is ours is in it, nothing of it stands in anybody's way."""

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.waiting import wait_until
from tests.wheels import FOLDERS, REPOSITORY, build_wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel"))


def test_every_file_of_ours_is_in_the_wheel(wheel: Path) -> None:
    ours = {
        f"temporal_fleet/{name}/{file.relative_to(REPOSITORY / folder)}"
        for folder, name in FOLDERS.items()
        for file in (REPOSITORY / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {
        "temporal_fleet/demo/fleet.toml",
        "temporal_fleet/demo/shop/orders.py",
        "temporal_fleet/supervisor/py.typed",
        "temporal_fleet/systemd/temporal-fleet@.service",
    } <= ours
    assert ours <= set(_names(wheel))


def test_nothing_stands_at_the_top_level_but_our_own_name(wheel: Path) -> None:
    assert {name.split("/")[0].split("-")[0] for name in _names(wheel)} == {"temporal_fleet"}


def test_supervisord_works_in_the_same_environment(wheel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "supervisor", wheel)
    _borrow_dependencies(python)
    version = _run(folder / "bin" / "temporal-fleet", "--version")
    assert version.startswith("temporal-fleet ")

    # Its whole path through its own package: the daemon, its RPC interface and its client.
    config = tmp_path / "supervisord.conf"
    config.write_text(
        f"[unix_http_server]\nfile={tmp_path}/s\n"
        f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={tmp_path}/pid\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        f"[supervisorctl]\nserverurl=unix://{tmp_path}/s\n"
        "[program:sleeper]\ncommand=/bin/sleep 600\nstartsecs=0\n"
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        daemon = subprocess.Popen(
            [folder / "bin" / "supervisord", "-c", config], stdout=output, stderr=subprocess.STDOUT
        )

    def status() -> str:
        assert daemon.poll() is None, log.read_text()
        asked: list[str | Path] = [folder / "bin" / "supervisorctl", "-c", config, "status"]
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout

    try:
        wait_until(lambda: "RUNNING" in status(), what="supervisord runs its program")
    finally:
        # Which ends its program too.
        daemon.terminate()
        daemon.wait(20)


def _borrow_dependencies(python: Path) -> None:
    """An environment that has ours, so that they need not be installed again."""
    own = _run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(own) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout
