"""The files that make a fleet a service of systemd: their texts, for a command, a user and a config file.
Writing them does not belong here, nor what systemd makes of them."""

import grp
import math
import os
import pwd
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from temporal_fleet.supervisor.config import defaults
from temporal_fleet.supervisor.config.host import FOR_USERS
from temporal_fleet.supervisor.core.service import longest_stop

if TYPE_CHECKING:
    from temporal_fleet.supervisor.config.reader import Config
    from temporal_fleet.supervisor.config.settings import Resources

COMMAND = "/opt/temporal-fleet/bin/temporal-fleet"
"""As it stands in the unit that comes with us."""
USER = "temporal-fleet"
OPEN_FILES = 65_536
"""LimitNOFILE= of that unit."""
_UNITS = Path("/etc/systemd/system")
_LOGS = Path("/var/log/temporal-fleet")
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
    """Whether systemd, which makes the user where there is none, would take it for a user's name."""
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,30}", name) is not None


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
    lines = [
        "# Made from the fleet's file. When `temporal-fleet check` says so, make it again:",
        f"# temporal-fleet systemd install -c {shlex.quote(str(service.config))}",
        "[Service]",
        "# The longest drain, and what may come after it.",
        f"TimeoutStopSec={seconds_to_stop(config)}",
        *directives(service, config),
    ]
    return UnitFile(_UNITS / f"{service.unit}.d" / "fleet.conf", "\n".join(lines) + "\n")


def directives(service: Service, config: "Config") -> Iterator[str]:
    """All lines of it but the time for a stop, with the comments that belong to them."""
    if defaults.service_of(service.config) is None:
        yield f"Environment={_word(f'TEMPORAL_FLEET_CONFIG={service.config}')}"
    for name, source in credentials(service, config):
        yield f"LoadCredential={name}:{_percent(source)}"
    for folder in _folders(service, config):
        yield f"ReadWritePaths={_word(f'-{folder}')}"
    yield from _for_resources([pool.resources for pool in config.pools.values()])


def as_root(config: "Config") -> list[str]:
    """What would run as root, since a pool beside it has a user of its own."""
    without = [name for name, pool in config.pools.items() if pool.resources.user is None]
    if len(without) == len(config.pools):
        return []
    return [f"pools.{name}.resources.user: is missing, and it would run as root: set it" for name in without]


def _for_resources(wanted: Sequence["Resources"]) -> Iterator[str]:
    """What the shared unit does not give, and pools ask for."""
    open_files = max((each.open_files or 0 for each in wanted), default=0)
    if open_files > OPEN_FILES:
        yield f"LimitNOFILE={open_files}"
    lowest_nice = min((each.nice or 0 for each in wanted), default=0)
    if lowest_nice < 0:
        yield f"LimitNICE={lowest_nice}"
    if any(each.gpus for each in wanted):
        yield "# GPUs are devices."
        yield "PrivateDevices=no"
        yield "DeviceAllow=char-nvidia* rw"
    if any(each.user is not None for each in wanted):
        # Capabilities of another user than root would outlast the change of user, down to the entities.
        yield "# Only root may run entities as users of their own: with no more rights than that takes."
        yield "User=root"
        yield f"CapabilityBoundingSet={' '.join(FOR_USERS)}"
        yield "SystemCallFilter=@setuid @chown"


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
    if config.fleet.log_dir is not None:
        given.append(config.fleet.log_dir)
    embedded = config.cluster.embedded
    if embedded is not None and embedded.database is not None:
        given.append(embedded.database.parent)
    writable = (
        defaults.run_directory_of(service.name),
        defaults.state_directory_of(service.name),
        _LOGS / service.name,
    )
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
