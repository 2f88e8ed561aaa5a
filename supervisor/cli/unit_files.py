"""The files that make a fleet a service of systemd: their texts, for a command, a user and a config file.
Writing them does not belong here, nor what systemd makes of them."""

import grp
import math
import os
import pwd
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from temporal_fleet.supervisor.config import defaults
from temporal_fleet.supervisor.config.units import format_duration
from temporal_fleet.supervisor.core.service import longest_stop

if TYPE_CHECKING:
    from temporal_fleet.supervisor.config.reader import Config

COMMAND = "/opt/temporal-fleet/bin/temporal-fleet"
"""As it stands in the unit that comes with us."""
USER = "temporal-fleet"
_UNITS = Path("/etc/systemd/system")
UNIT = _UNITS / "temporal-fleet@.service"
SYSUSERS = Path("/etc/sysusers.d/temporal-fleet.conf")
TMPFILES = Path("/etc/tmpfiles.d/temporal-fleet.conf")


@dataclass(frozen=True)
class UnitFile:
    path: Path
    text: str


@dataclass(frozen=True)
class Service:
    """The service that runs one config file."""

    name: str
    """`shop`, of `temporal-fleet@shop.service`."""
    config: Path

    @property
    def unit(self) -> str:
        return f"temporal-fleet@{self.name}.service"

    @property
    def environment(self) -> dict[str, str]:
        """What a config is read with there, as far as it matters for where things stand."""
        return {
            **os.environ,
            "RUNTIME_DIRECTORY": str(defaults.run_directory_of(self.name)),
            "STATE_DIRECTORY": str(defaults.state_directory_of(self.name)),
        }


def service_of(config: Path) -> Service:
    """A file elsewhere than in /etc/temporal-fleet is run by a service that is named after its folder, or
    after itself."""
    file = config.absolute()
    name = defaults.service_of(file)
    if name is None:
        name = defaults.name_from(file.parent.name if file.name == "fleet.toml" else file.stem)
    return Service(name, file)


def is_user(name: str) -> bool:
    """Whether systemd would take it for a user's name, or for a user id."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,30}|[0-9]+", name) is not None


def shared(command: Path, user: str) -> list[UnitFile]:
    """The files that all fleets of a host share."""
    unit = _shipped("temporal-fleet@.service").replace(COMMAND, _word(str(command)))
    return [
        UnitFile(UNIT, unit.replace(f"User={USER}\n", f"User={user}\n")),
        UnitFile(SYSUSERS, _shipped("temporal-fleet.sysusers.conf").replace(f"u {USER} ", f"u {user} ")),
        UnitFile(
            TMPFILES, _shipped("temporal-fleet.tmpfiles.conf").replace(f"root {USER}", f"root {_group(user)}")
        ),
    ]


def own(service: Service, config: "Config") -> UnitFile:
    """What depends on the file of one fleet."""
    longest = max((pool.drain for pool in config.pools.values()), default=0.0)
    lines = [
        "# Made from the fleet's file. When its drains, credentials or folders change, make it again:",
        f"# temporal-fleet systemd install -c {shlex.quote(str(service.config))}",
        "[Service]",
        f"# The longest drain, {format_duration(longest)}, and what may come after it.",
        f"TimeoutStopSec={seconds_to_stop(config)}",
    ]
    if defaults.service_of(service.config) is None:
        lines.append(f"Environment={_word(f'TEMPORAL_FLEET_CONFIG={service.config}')}")
    lines += [f"LoadCredential={name}:{_percent(source)}" for name, source in credentials(service, config)]
    lines += [f"ReadWritePaths={_word(f'-{folder}')}" for folder in _folders(service, config)]
    return UnitFile(_UNITS / f"{service.unit}.d" / "fleet.conf", "\n".join(lines) + "\n")


def seconds_to_stop(config: "Config") -> int:
    """What the unit must give at least."""
    return math.ceil(longest_stop(pool.drain for pool in config.pools.values()))


def credentials(service: Service, config: "Config") -> Iterator[tuple[str, str]]:
    """Name and source of each credential that the file asks systemd for."""
    folder = defaults.credentials_directory(service.config, {})
    tls = config.cluster.tls
    named = [config.cluster.api_key_file]
    if tls is not None:
        named += [tls.server_ca, tls.client_cert, tls.client_key]
    for path in dict.fromkeys(named):
        if path is not None and path.parent == folder:
            yield path.name, str(path)


def _folders(service: Service, config: "Config") -> Iterator[Path]:
    """Folders that the file names, and that the unit would not let the fleet write to."""
    given = [config.fleet.run_dir, config.fleet.state_dir]
    embedded = config.cluster.embedded
    if embedded is not None and embedded.database is not None:
        given.append(embedded.database.parent)
    writable = (defaults.run_directory_of(service.name), defaults.state_directory_of(service.name))
    for folder in dict.fromkeys(given):
        if not any(folder == place or place in folder.parents for place in writable):
            yield folder


def _shipped(name: str) -> str:
    # Of no use to anybody else who imports this.
    from importlib import resources

    return resources.files("temporal_fleet.systemd").joinpath(name).read_text(encoding="utf-8")


def _group(user: str) -> str:
    try:
        return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        # systemd-sysusers makes a group of the same name.
        return user


def _percent(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """One word of a unit file, whatever is in it."""
    escaped = _percent(text).replace("\\", "\\\\").replace('"', '\\"')
    return escaped if escaped == text and not any(c.isspace() or c in "'$;" for c in text) else f'"{escaped}"'
