"""Finding search spaces by name."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points

from dnas.errors import ConfigError
from dnas.spaces.base import SearchSpace
from dnas.spaces.checks import check_space

ENTRY_POINT_GROUP = "dnas.search_spaces"

_REGISTERED: dict[str, SearchSpace] = {}


def register(space: SearchSpace) -> SearchSpace:
    """Make ``space`` known under its name; registering the same object again does nothing.

    Raises:
        ConfigError: Another space has that name, or it lacks what a space needs.
    """
    check_space(space)
    if _REGISTERED.setdefault(space.name, space) is not space:
        raise ConfigError(f"a search space named {space.name!r} is registered already")
    return space


def known_spaces() -> list[str]:
    """Names of all registered and installed search spaces."""
    installed = {entry.name for entry in entry_points(group=ENTRY_POINT_GROUP)}
    return sorted(installed | set(_REGISTERED))


def find_space(name: str) -> SearchSpace:
    """The search space called ``name``.

    Args:
        name: A registered name, the name of an installed entry point in the group
            ``dnas.search_spaces``, or ``package.module:ATTRIBUTE``.

    Raises:
        ConfigError: There is none, or what is there is no usable SearchSpace.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    found: object
    if ":" in name:
        module_name, _, attribute = name.partition(":")
        try:
            found = getattr(importlib.import_module(module_name), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"search_space {name!r} cannot be imported: {error}") from error
    else:
        entries = [e for e in entry_points(group=ENTRY_POINT_GROUP) if e.name == name]
        if not entries:
            raise ConfigError(
                f"search_space {name!r} is unknown; known are {', '.join(known_spaces())}, or "
                "give package.module:SPACE"
            )
        found = entries[0].load()
    try:
        return check_space(found)
    except ConfigError as error:
        raise ConfigError(f"search_space {name!r}: {error}") from None
