"""Flags from dataclasses: parsing, ``--config``, ``--print_config``.

Every field of the dataclasses is a flag of the same name; an unknown flag, a wrong type and a
missing value are errors. A config file (JSON, as ``--print_config`` prints it and every run saves
it, or TOML) sets defaults; flags on the command line win.
"""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Any

import tyro

from dnas.errors import ConfigError, DnasError
from dnas.files import read_json


@dataclass(frozen=True, kw_only=True)
class ConfigFlags:
    """Flags about the flags."""

    config: str | None = None
    """JSON or TOML file with values of any flags; the command line wins."""
    print_config: bool = False
    """Print the resolved configuration as JSON and stop."""


def early_value(argv: Sequence[str], name: str) -> str | None:
    """The value of ``--name`` before all flags are known, None if it is not there."""
    values = []
    for word, following in zip(argv, [*argv[1:], ""], strict=False):
        if _flag_of(word) == name:
            _, equals, value = word.partition("=")
            values.append(value if equals else following)
    if len(set(values)) > 1:
        raise ConfigError(f"--{name} is given more than once: {values}")
    return values[0] if values else None


def read_config_file(path: str | None) -> dict[str, Any]:
    """Flag name -> value from a JSON or TOML file; empty for None.

    Raises:
        ConfigError: Missing, not readable, or not a flat object.
    """
    if path is None:
        return {}
    if path.endswith(".toml"):
        try:
            value: Any = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"--config {path}: there is no such file") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"--config {path}: not TOML ({error})") from None
    else:
        try:
            value = read_json(path)
        except DnasError as error:
            raise ConfigError(f"--config {error}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"--config {path}: expected an object of flags, got {type(value)}")
    return value


def parse_flags(
    argv: Sequence[str],
    groups: Mapping[str, type],
    *,
    program: str,
    description: str,
    file_values: Mapping[str, Any] | None = None,
) -> Any:
    """Parse ``argv`` into one object per dataclass.

    Args:
        argv: Words after the program's name.
        groups: Attribute name -> dataclass.
        program: For the help text.
        description: For the help text.
        file_values: From a config file; the command line wins.

    Returns:
        An object with an attribute for each group.

    Raises:
        ConfigError: A config file has an unknown flag, a switch has a value, or a value is refused
            by its dataclass.
        SystemExit: With code 2 on a wrong flag, 0 after ``--help``.
    """
    owner: dict[str, str] = {}
    for group, cls in groups.items():
        for entry in fields(cls):
            if entry.name in owner:
                raise ConfigError(
                    f"{cls.__name__}.{entry.name}: {owner[entry.name]} has a flag of that name"
                )
            owner[entry.name] = group
            value = (file_values or {}).get(entry.name)
            if _is_switch(entry) and value is not None and not isinstance(value, bool):
                raise ConfigError(f"--config: {entry.name} must be true or false, not {value!r}")
    unknown = sorted(set(file_values or {}) - set(owner))
    if unknown:
        raise ConfigError(f"--config: unknown flags {unknown}; known are {sorted(owner)}")
    _check_switches(argv, groups)
    container: Any = make_dataclass(
        "Flags", [(group, cls, field()) for group, cls in groups.items()], frozen=True
    )
    parsed = tyro.cli(
        container,
        config=(tyro.conf.OmitArgPrefixes,),
        prog=program,
        description=description,
        args=[*_as_words(file_values or {}, argv), *argv],
        use_underscores=True,
    )
    for name, value in _all_values(parsed).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ConfigError(f"--{name} must be a finite number, but got {value}")
    return parsed


def given(settings: Any, names: Iterable[str]) -> list[str]:
    """Those of the flags that have not their default, as words of a command line.

    Args:
        settings: The parsed dataclass.
        names: Of some of its fields.
    """
    entries = {entry.name: entry for entry in fields(settings)}
    changed = [name for name in names if getattr(settings, name) != entries[name].default]
    return [" ".join(_words_of(name, getattr(settings, name))) for name in changed]


def _words_of(name: str, value: Any) -> list[str]:
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no_{name}"]
    if isinstance(value, list | tuple):
        return [f"--{name}", *map(str, value)]
    return [f"--{name}={value}"]


def _flag_of(word: str) -> str:
    """The flag that a word of a command line is or begins with, empty if it is none.

    ``--a-b`` is ``--a_b``, as it is for the parser.
    """
    return word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""


def _is_switch(entry: Field[Any]) -> bool:
    return entry.type in (bool, "bool")


def _check_switches(argv: Sequence[str], groups: Mapping[str, type]) -> None:
    """Refuse ``--switch=False``, of which the parser would only say that it knows no ``False``."""
    switches = {entry.name for cls in groups.values() for entry in fields(cls) if _is_switch(entry)}
    for word in argv:
        name = _flag_of(word).removeprefix("no_")
        if "=" in word and name in switches:
            raise ConfigError(f"{word}: a switch has no value; write --{name} or --no_{name}")


def _as_words(values: Mapping[str, Any], argv: Sequence[str]) -> list[str]:
    """The values of a config file as command-line words, so that one parser checks both.

    Flags that the command line has are left out.
    """
    there = {_flag_of(word).removeprefix("no_") for word in argv}
    return [
        word
        for name, value in values.items()
        if name not in there
        for word in _words_of(name, value)
    ]


def _all_values(parsed: Any) -> dict[str, Any]:
    """Every flag with its value, as parsed."""
    return {
        entry.name: getattr(getattr(parsed, group.name), entry.name)
        for group in fields(parsed)
        for entry in fields(getattr(parsed, group.name))
    }


def flat(parsed: Any) -> dict[str, Any]:
    """All flags with their values, as JSON values, without the flags about flags."""
    values = _all_values(parsed)
    for entry in fields(ConfigFlags):
        values.pop(entry.name, None)
    return json.loads(json.dumps(values))


def print_config(parsed: Any) -> None:
    """Write the resolved configuration to standard output, ready for ``--config``."""
    sys.stdout.write(json.dumps(flat(parsed), indent=1) + "\n")
