"""The defaults that depend on the surroundings: the file's folder, the environment, other keys. Those that
do not are in the models (`settings.py`)."""

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ADDRESS: Final = "localhost:7233"
NAMESPACE: Final = "default"
UI_PORT: Final = 8233
SERVICES: Final = Path("/etc/temporal-fleet")
"""Where the config files of the system's services stand: each is named after its service."""

Tree = dict[str, Any]


def name_from(text: str) -> str:
    """The name of a fleet that a folder's or module's name gives: the same where it can be one, `fleet` when
    nothing of it can stay."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-_.")
    return name[:63].strip("-_.") or "fleet"


def home(environ: Mapping[str, str]) -> Path | None:
    """None for a user without a home, as containers run them."""
    if environ.get("HOME"):
        return Path(environ["HOME"])
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        return None


def service_of(file: Path) -> str | None:
    """The service that runs a config file, by where that stands; None: it is nobody's."""
    file = file.absolute()
    return file.stem if file.parent == SERVICES and name_from(file.stem) == file.stem else None


def run_directory_of(service: str) -> Path:
    return Path("/run/temporal-fleet") / service


def state_directory_of(service: str) -> Path:
    return Path("/var/lib/temporal-fleet") / service


def credentials_directory(file: Path, environ: Mapping[str, str]) -> Path:
    """Of `${CREDENTIALS_DIRECTORY}` in a file: where systemd put them, or where it would take them from."""
    given = environ.get("CREDENTIALS_DIRECTORY")
    return Path(given) if given else file.with_name(f"{file.stem}.credentials")


def run_directory(name: str, environ: Mapping[str, str]) -> Path:
    # systemd lists several folders with colons between them.
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    # After `su`, or in a container, it may name a folder that never was made.
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if runtime and Path(runtime).is_dir():
        return Path(runtime) / "temporal-fleet" / name
    return _own_folder() / name


def state_directory(name: str, environ: Mapping[str, str]) -> Path:
    given = environ.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return Path(given)
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "temporal-fleet" / name
    folder = home(environ)
    if folder is None:
        return _own_folder() / "state" / name
    return folder / ".local" / "state" / "temporal-fleet" / name


def fill_in(tree: Tree, folder: Path, environ: Mapping[str, str], service: str | None = None) -> Tree:
    """The tree of a file in a folder, or of the file of a service, with these defaults in it. What is given
    stays, right or wrong."""
    tree = dict(tree)
    fleet = _table(tree, "fleet")
    if fleet is not None:
        name = fleet.setdefault("name", service or name_from(folder.name))
        # A wrong name is reported as such; the folders need any name to go on with.
        usable = name if isinstance(name, str) and name == name_from(name) else "fleet"
        if service is not None:
            # Under systemd the same folders are in the environment; here they are for who asks from outside.
            environ = {
                "RUNTIME_DIRECTORY": str(run_directory_of(service)),
                "STATE_DIRECTORY": str(state_directory_of(service)),
                **environ,
            }
        fleet.setdefault("run_dir", str(run_directory(usable, environ)))
        fleet.setdefault("state_dir", str(state_directory(usable, environ)))
    cluster = _table(tree, "cluster")
    if cluster is not None:
        if "profile" not in cluster:
            cluster.setdefault("namespace", NAMESPACE)
            if "embedded" not in cluster:
                cluster.setdefault("address", ADDRESS)
        embedded = _table(cluster, "embedded") if "embedded" in cluster else None
        if embedded is not None:
            embedded.setdefault("ui_port", 0 if embedded.get("port") == 0 else UI_PORT)
    pools = _table(tree, "pools")
    for pool_name in pools or ():
        pool = _table(pools, pool_name) if pools is not None else None
        if pool is not None:
            pool.setdefault("path", str(folder))
    return tree


def _own_folder() -> Path:
    return Path("/tmp") / f"temporal-fleet-{os.getuid()}"


def _table(parent: Tree, key: str) -> Tree | None:
    """A copy, in its parent, of the table under a key (made when absent); None when it is no table."""
    table = parent.get(key, {})
    if not isinstance(table, dict):
        return None
    parent[key] = dict(table)
    return parent[key]  # type: ignore[no-any-return]
