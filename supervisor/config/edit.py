"""Changes to the text of a fleet.toml that keep its comments and its layout. Files are not its business."""

import copy
import tomllib
from collections.abc import Mapping, MutableMapping
from typing import Any

from temporal_fleet.supervisor.config.places import Places
from temporal_fleet.supervisor.config.problems import ConfigError, Problem, dotted
from temporal_fleet.supervisor.config.settings import MAX_ENTITIES


def set_entities(text: str, sizes: Mapping[str, int]) -> str:
    """The text with these numbers of entities, by pool.

    Raises ConfigError, with every problem, for a pool that is not there, a number that cannot be, or a text
    that is no TOML or whose layout cannot be edited.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        before = tomllib.loads(text)
        tomlkit.parse(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([Problem(key="", remedy=f"not valid TOML: {error}")]) from error
    problems = _problems(before, sizes)
    if problems:
        raise ConfigError(problems)
    wanted = copy.deepcopy(before)
    for name, size in sizes.items():
        wanted["pools"][name]["entities"] = size
    for name, size in sizes.items():
        text = _with_line(text, name, size)
    try:
        document = tomlkit.parse(text)
        pools: MutableMapping[str, Any] = document["pools"]
        for name, size in sizes.items():
            pools[name]["entities"] = size
        after = tomlkit.dumps(document)
        faithful = tomllib.loads(after) == wanted
    except (TOMLKitError, ValueError, TypeError) as error:
        raise _cannot_edit(sizes) from error
    if not faithful:
        raise _cannot_edit(sizes)
    return after


def _with_line(text: str, name: str, size: int) -> str:
    """With a line for the size of a pool that has none, below that of its queue: at the end of its table it
    would stand below a comment of the next one. The same text, where that stands in no line of its own."""
    tree = tomllib.loads(text)
    pool = tree["pools"][name]
    place = Places(text).line(("pools", name, "task_queue"))
    lines = text.splitlines(keepends=True)
    if "entities" in pool or place is None:
        return text
    line = lines[place - 1]
    indent = line[: len(line) - len(line.lstrip())]
    end = "\r\n" if line.endswith("\r\n") else "\n"
    if not line.endswith("\n"):
        lines[place - 1] += end
    edited = "".join([*lines[:place], f"{indent}entities = {size}{end}", *lines[place:]])
    pool["entities"] = size
    try:
        return edited if tomllib.loads(edited) == tree else text
    except ValueError:
        return text


def _problems(tree: Mapping[str, Any], sizes: Mapping[str, int]) -> list[Problem]:
    pools = tree.get("pools")
    tables = pools if isinstance(pools, dict) else {}
    problems = []
    for name, size in sizes.items():
        if not isinstance(tables.get(name), dict):
            there = ", ".join(key for key, value in tables.items() if isinstance(value, dict))
            remedy = f"there is no such pool; there are {there}" if there else "there are no pools"
            problems.append(Problem(key=dotted(("pools", name)), remedy=remedy))
        elif not 0 <= size <= MAX_ENTITIES:
            key = dotted(("pools", name, "entities"))
            remedy = f"must be at least 0 and at most {MAX_ENTITIES}"
            problems.append(Problem(key=key, value=str(size), remedy=remedy))
    return problems


def _cannot_edit(sizes: Mapping[str, int]) -> ConfigError:
    # Never write a file that says anything else than the one before, and the new sizes.
    return ConfigError(
        Problem(
            key=dotted(("pools", name, "entities")),
            value=str(size),
            remedy="cannot be set in this file's layout: edit the file, then `temporal-fleet reload`",
        )
        for name, size in sizes.items()
    )
