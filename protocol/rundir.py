"""The run directory: which file stands where. Nothing is made or opened here.

RUN_DIR/lock                    flock'ed by the supervisor that owns the directory
RUN_DIR/supervisor.pid          the PID of that supervisor; every user that runs entities may read it
RUN_DIR/bus.sock                ROUTER: entities
RUN_DIR/bus-UID.sock            the same, for entities that run as that user, who alone may connect
RUN_DIR/control.sock            ROUTER: operators
RUN_DIR/events.sock             PUB: events
RUN_DIR/fleet.json              what the next supervisor must know of the fleet
RUN_DIR/entities/ID.N.blackbox  what must survive the death of incarnation N of entity ID
RUN_DIR/entities/ID.N.stacks    where incarnation N writes its Python stacks when asked
RUN_DIR/entities/ID.metrics     what every life of entity ID measured: each goes on from the one before it
"""

from pathlib import Path

from temporal_fleet.protocol.errors import ProtocolMisuse

SOCKET_PATH_LIMIT = 107
"""Bytes: sizeof(sun_path) - 1 on Linux."""


def routing_id(entity: str, incarnation: int) -> str:
    """`orders-3.7`: names one life of one entity, on the wire and on disk."""
    return f"{entity}.{incarnation}"


class RunDirectory:
    """The paths under one run directory.

    Raises ProtocolMisuse when a socket's path would not fit the kernel's limit.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.lock = self.path / "lock"
        self.pid = self.path / "supervisor.pid"
        self.bus = self.path / "bus.sock"
        self.control = self.path / "control.sock"
        self.events = self.path / "events.sock"
        self.books = self.path / "fleet.json"
        self.entities = self.path / "entities"
        longest = max((self.bus, self.control, self.events), key=lambda socket: len(bytes(socket)))
        if len(bytes(longest)) > SOCKET_PATH_LIMIT:
            raise ProtocolMisuse(
                f"{longest}: a socket path of {len(bytes(longest))} bytes is over the limit of "
                f"{SOCKET_PATH_LIMIT}; set [fleet] run_dir to a shorter folder"
            )

    def is_another_s(self) -> bool:
        """Whether the folder is there, and holds things, and was never a run directory. Raises OSError."""
        try:
            # A file system of its own has that folder from its beginning.
            names = {path.name for path in self.path.iterdir()} - {"lost+found"}
        except FileNotFoundError:
            return False
        is_ours = self.lock.is_file() or self.books.is_file() or self.entities.is_dir()
        return bool(names) and not is_ours

    def blackbox(self, entity: str, incarnation: int) -> Path:
        return self.entities / f"{routing_id(entity, incarnation)}.blackbox"

    def stacks(self, entity: str, incarnation: int) -> Path:
        return self.entities / f"{routing_id(entity, incarnation)}.stacks"

    def metrics(self, entity: str) -> Path:
        return self.entities / f"{entity}.metrics"


def bus_of(run_dir: Path, uid: int) -> Path:
    return run_dir / f"bus-{uid}.sock"


def ipc(path: Path) -> str:
    """The ZeroMQ endpoint of a socket path."""
    return f"ipc://{path}"
