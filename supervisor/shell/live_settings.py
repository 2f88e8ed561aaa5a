"""The settings that are followed in the middle of a life: told to every entity that lives, to our own log,
and to the core. Which they are stands in the config."""

from temporal_fleet.protocol.messages import Settings
from temporal_fleet.supervisor.core import events
from temporal_fleet.supervisor.shell import log
from temporal_fleet.supervisor.shell.bus import Bus
from temporal_fleet.supervisor.shell.children import Children
from temporal_fleet.supervisor.shell.configuration import Configuration


class LiveSettings:
    def __init__(self, configuration: Configuration, bus: Bus, children: Children) -> None:
        self._configuration = configuration
        self._bus = bus
        self._children = children
        self._told = self.log_level
        self._http = self.http

    @property
    def log_level(self) -> str:
        """As the config in force has it. An entity that greets us is told with its welcome."""
        return self._configuration.config.fleet.log_level

    @property
    def http(self) -> str | None:
        """As the config in force has it."""
        return self._configuration.config.fleet.http

    def spread(self) -> list[events.Event]:
        """Another config may be in force by now. What the core is to be told of it."""
        self._spread_log_level()
        if self.http == self._http:
            return []
        self._http = self.http
        return [events.HttpWanted(self.http)]

    def _spread_log_level(self) -> None:
        if self.log_level == self._told:
            return
        self._told = self.log_level
        log.set_level(self.log_level)
        for life in self._children.lives():
            self._bus.send(
                Settings(entity=life.entity, incarnation=life.incarnation, log_level=self.log_level)
            )
