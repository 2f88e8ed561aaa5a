"""The settings that are followed in the middle of a life: told to every entity and helper that lives, to our
own log, and to the core. Which they are stands in the config."""

from temporal_fleet.protocol.messages import Settings
from temporal_fleet.protocol.spec import LogFiles
from temporal_fleet.supervisor.config.specs import log_files, secrets
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.shell import log
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children
from temporal_fleet.supervisor.shell.configuration import Configuration
from temporal_fleet.supervisor.shell.helpers import Helpers


class LiveSettings:
    def __init__(self, configuration: Configuration, bus: Bus, children: Children, helpers: Helpers) -> None:
        self._configuration = configuration
        self._bus = bus
        self._children = children
        self._helpers = helpers
        self._told = self.log_level, self.log_files()
        self._http = self.http

    @property
    def log_level(self) -> str:
        """As the config in force has it. An entity that greets us is told with its welcome."""
        return self._configuration.config.fleet.log_level

    @property
    def http(self) -> str | None:
        """As the config in force has it."""
        return self._configuration.config.fleet.http

    def log_files(self, entity: str | None = None) -> LogFiles | None:
        """In the same way: of an entity, or of the supervisor."""
        pool = None if entity is None else entity.rpartition("-")[0]
        return log_files(self._configuration.config, pool)

    def spread(self) -> list[events.Event]:
        """Another config may be in force by now. What the core is to be told of it."""
        self._spread_logging()
        if self.http == self._http:
            return []
        self._http = self.http
        return [events.HttpWanted(self.http)]

    def _spread_logging(self) -> None:
        log.hide(secrets(self._configuration.config))
        level, files = self.log_level, self.log_files()
        if (level, files) == self._told:
            return
        self._told = level, files
        log.set_level(level)
        log.use(files)
        self._helpers.log_to(files)
        for life in self._children.lives():
            told = Settings(
                entity=life.entity,
                incarnation=life.incarnation,
                log_level=level,
                log_files=self.log_files(life.entity),
            )
            self._bus.send(told)
