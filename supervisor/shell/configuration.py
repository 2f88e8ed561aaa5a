"""The config that is in force, and the one that would be: loading it again, and what each entity is told of
it. What a valid config is stands in supervisor.config."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from temporal_fleet.protocol.helpers import WatchCluster
from temporal_fleet.protocol.spec import EntitySpec
from temporal_fleet.supervisor.config.host import this_host
from temporal_fleet.supervisor.config.pools import core_pools
from temporal_fleet.supervisor.config.reader import Config, ConfigError, load
from temporal_fleet.supervisor.config.settings import Embedded
from temporal_fleet.supervisor.config.specs import cluster_spec, entity_spec
from temporal_fleet.supervisor.config.units import format_size
from temporal_fleet.supervisor.core.fleet import Pool


class ReloadRefused(Exception):
    """The file does not give a config that this fleet could follow."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Proposal:
    config: Config
    pools: Mapping[str, Pool]
    budget: int | None
    """Of memory, for all entities together."""
    settings: Mapping[str, str]
    """What else changes, in no pool and without a restart: by key, from what to what."""


class Configuration:
    def __init__(
        self,
        config: Config,
        environment: Mapping[str, str],
        cluster_address: str | None,
        supervisor_pid: int,
        log_format: Literal["console", "json"],
    ) -> None:
        self.config = config
        self._since = {0: config}
        """By generation, from which on each was in force: the present one, and those that may be again."""
        self._environment = environment
        self._address = cluster_address
        self._pid = supervisor_pid
        self._log_format = log_format

    @property
    def path(self) -> Path | None:
        return self.config.path

    def pools(self) -> Mapping[str, Pool]:
        return core_pools(self.config, self._address)

    def budget(self) -> int | None:
        return self.config.fleet.memory_budget

    def watch(self, config: Config | None = None) -> WatchCluster:
        """What the agent is told of the config in force, or of another one."""
        config = config or self.config
        return WatchCluster(
            cluster=cluster_spec(config, self._address),
            fleet=config.fleet.name,
            rebuild_task_tokens=config.cluster.rebuild_task_tokens,
        )

    def task_queue(self, pool: str) -> str:
        """Empty where there is no such pool (any more)."""
        settings = self.config.pools.get(pool)
        return settings.task_queue if settings is not None else ""

    def entity_spec(self, pool: str, entity: str, incarnation: int, gpus: tuple[int, ...]) -> EntitySpec:
        return entity_spec(
            self.config,
            pool,
            entity=entity,
            incarnation=incarnation,
            gpus=gpus,
            supervisor_pid=self._pid,
            cluster_address=self._address,
            log_format=self._log_format,
        )

    def propose(self) -> Proposal:
        """Read the file again.

        Raises ReloadRefused with every problem.
        """
        if self.config.path is None:
            raise ReloadRefused(("this fleet was started by `run` and has no file; use scale and restart",))
        try:
            config = load(self.config.path, self._environment, this_host())
        except ConfigError as error:
            raise ReloadRefused(tuple(str(problem) for problem in error.problems)) from error
        except OSError as error:
            problem = f"{self.config.path} cannot be checked now: {error}; try again"
            raise ReloadRefused((problem,)) from error
        fixed = [
            f"{key}: cannot change while the fleet runs ({before} -> {after}); stop it and start it again"
            for key, before, after in fixed_settings(self.config, config)
            if before != after
        ]
        if fixed:
            raise ReloadRefused(tuple(fixed))
        settings = {
            key: f"{_shown(before)} -> {_shown(after)}"
            for key, before, after in followed_settings(self.config, config)
            if before != after
        }
        return Proposal(config, core_pools(config, self._address), config.fleet.memory_budget, settings)

    def adopt(self, generation: int, proposal: Proposal | None) -> None:
        """A generation is in force: with this config, or with the present one."""
        if proposal is not None:
            self.config = proposal.config
        self._since[generation] = self.config

    def restore(self, generation: int) -> None:
        """The config of an earlier generation is in force again."""
        self.config = self._of(generation)
        self._since.update((each, self.config) for each in self._since if each > generation)

    def settle(self, generation: int) -> None:
        """No config from before this generation will be in force again."""
        later = {each: config for each, config in self._since.items() if each > generation}
        self._since = {0: self._of(generation), **later}

    def _of(self, generation: int) -> Config:
        return self._since[max(each for each in self._since if each <= generation)]


def fixed_settings(before: Config, after: Config) -> list[tuple[str, object, object]]:
    """What only a new supervisor can change: key, and its values before and after."""
    return [
        ("fleet.name", before.fleet.name, after.fleet.name),
        ("fleet.run_dir", before.fleet.run_dir, after.fleet.run_dir),
        ("fleet.state_dir", before.fleet.state_dir, after.fleet.state_dir),
        ("fleet.log_format", before.fleet.log_format, after.fleet.log_format),
        ("cluster.embedded", _embedded(before), _embedded(after)),
    ]


def _embedded(config: Config) -> Embedded | None:
    """Its database moves with state_dir, which is told by itself."""
    embedded = config.cluster.embedded
    if embedded is None or embedded.database is None or embedded.database.parent != config.fleet.state_dir:
        return embedded
    return embedded.model_copy(update={"database": Path(embedded.database.name)})


def followed_settings(before: Config, after: Config) -> list[tuple[str, object, object]]:
    """What no pool has to do with, and every process follows as it runs: as of fixed_settings."""
    return [
        ("log_level", before.fleet.log_level, after.fleet.log_level),
        ("http", before.fleet.http, after.fleet.http),
        ("log_dir", before.fleet.log_dir, after.fleet.log_dir),
        ("log_size", format_size(before.fleet.log_size), format_size(after.fleet.log_size)),
        ("log_keep", before.fleet.log_keep, after.fleet.log_keep),
        ("rebuild_task_tokens", before.cluster.rebuild_task_tokens, after.cluster.rebuild_task_tokens),
    ]


def _shown(value: object) -> str:
    """As TOML writes it, where it can."""
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)
