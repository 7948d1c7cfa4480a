"""Flags of commands that are about a search space: its name decides which flags there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dnas.cli.flags import early_value, given, parse_flags
from dnas.errors import ConfigError
from dnas.spaces import SearchSpace, find_space


def parse_space_flags(
    argv: Sequence[str],
    groups: Mapping[str, type],
    *,
    program: str,
    description: str,
    file_values: Mapping[str, Any],
) -> tuple[SearchSpace, Any]:
    """Parse ``argv`` with the flags of ``--search_space`` among them, as ``space`` and ``data``.

    Args:
        argv: Words after the program's name.
        groups: Attribute name -> dataclass, of the command itself; one has ``search_space``.
        program: For the help text.
        description: For the help text.
        file_values: From a config file; the command line wins.

    Returns:
        The space, and an object with an attribute for each group.

    Raises:
        ConfigError: ``--search_space`` is missing or unknown, or as ``parse_flags``.
        SystemExit: With code 2 on a wrong flag, 0 after ``--help``.
    """
    name = early_value(argv, "search_space") or file_values.get("search_space")
    space = find_space(name) if name else None
    if space is not None:
        groups = {**groups, "space": space.config_class, "data": space.data_class}
    parsed = parse_flags(
        argv, groups, program=program, description=description, file_values=file_values
    )
    if space is None:
        raise ConfigError("--search_space is required")
    return space, parsed


def given_one_shot_fields(space: SearchSpace, config: Any) -> list[str]:
    """The flags of ``SearchSpace.one_shot_fields`` that have not their default, as words."""
    return given(config, space.one_shot_fields)
