"""Finding search spaces by name."""

from __future__ import annotations

import importlib
import sys
from importlib.metadata import entry_points
from pathlib import Path

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
            ``dnas.search_spaces``, or ``package.module:ATTRIBUTE``. A module is looked for where
            Python looks (``sys.path``: installed packages, the script's folder) and, last, in the
            current folder, which stays on ``sys.path`` then.

    Raises:
        ConfigError: There is none, or what is there is no usable SearchSpace.
    """
    if name in _REGISTERED:
        return _REGISTERED[name]
    found: object
    if ":" in name:
        found = _imported(name)
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


def _imported(name: str) -> object:
    """What ``package.module:ATTRIBUTE`` names."""
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # the console script has its own folder first, not the user's
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        told = f"search_space {name!r} cannot be imported: {error}"
        if missing and (module_name == missing or module_name.startswith(f"{missing}.")):
            folders = [str(Path(entry).absolute()) for entry in sys.path if Path(entry).is_dir()]
            told += f"; looked in {', '.join(dict.fromkeys(folders))}"
        raise ConfigError(told) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        spaces = [key for key, value in vars(module).items() if isinstance(value, SearchSpace)]
        raise ConfigError(
            f"search_space {name!r}: {module.__file__ or module_name} has no {attribute!r}; its "
            f"search spaces are {', '.join(spaces) or 'none'}"
        ) from None
