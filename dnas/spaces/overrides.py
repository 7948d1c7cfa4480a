"""A search space's configuration with some fields replaced, as words ``name=value`` say.

NASRec searches and selects with capped embedding tables and trains its final model with full ones
(arXiv:2207.07187, 5.1): the same decisions in a configuration of which one field differs.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import torch
from torch.overrides import TorchFunctionMode

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError
from dnas.spaces.base import SearchSpace

_FLAG = "--space_overrides"

Answer = TypeVar("Answer")


def overridden(config: Any, words: Sequence[str]) -> Any:
    """``config`` with the fields that ``words`` name replaced.

    A value is read as the type of its field: ``true`` and ``false`` for a bool, ``none`` where a
    field may be None, items between commas for a tuple.

    Args:
        config: A search space's configuration, a frozen dataclass.
        words: Each ``name=value``.

    Raises:
        ConfigError: A word names no field, or one twice, or its value does not fit; all names are
            listed.
    """
    hints = get_type_hints(type(config))
    names = [entry.name for entry in fields(config)]
    known = f"the names are {', '.join(names)}"
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{_FLAG} {word}: NAME=VALUE is needed; {known}")
        if name not in names:
            raise ConfigError(f"{_FLAG} {word}: there is no {name!r}; {known}")
        if name in values:
            raise ConfigError(f"{_FLAG} {word}: {name} is given twice; {known}")
        try:
            values[name] = _value(text, hints[name])
        except ValueError as error:
            raise ConfigError(f"{_FLAG} {word}: {error}; {known}") from None
    try:
        return replace(config, **values)
    except ConfigError as error:
        raise ConfigError(f"{_FLAG} {' '.join(words)}: {error}") from None


def costs_of(
    space: SearchSpace, config: Any, spec: Any, architecture: Architecture
) -> dict[str, float]:
    """The costs of an architecture in a configuration, as its architecture file would hold them."""
    return asked_of_supernet(space, config, spec, lambda super_net: super_net.cost(architecture))


def asked_of_supernet(
    space: SearchSpace, config: Any, spec: Any, question: Callable[[SuperNet], Answer]
) -> Answer:
    """The answer of a supernet that is made for this question only.

    It is made without storage for its tables, which are gigabytes where they are not capped; only
    one that must look at its weights is made in full.
    """
    try:
        with _NoWeights():
            super_net = space.make_supernet(config, spec)
        return question(super_net)
    except RuntimeError:  # of a tensor without storage, which was asked for a number
        return question(space.make_supernet(config, spec))


class _NoWeights(TorchFunctionMode):
    """Under it, what is allocated to be initialised later has a shape and no storage.

    That is how tables and most parameters are made; buffers, which costs are computed from, are
    made of their values and stay what they are.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is torch.empty:
            given["device"] = "meta"
        return func(*args, **given)


def _value(text: str, hint: Any) -> Any:
    """``text`` as a value of the type ``hint``.

    Raises:
        ValueError: It is none; the message says what is needed.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if type(None) in parts and text.lower() == "none":
            return None
        (hint,) = (part for part in parts if part is not type(None))
        return _value(text, hint)
    if origin is Literal:
        found = next((value for value in parts if str(value) == text), None)
        if found is None:
            raise ValueError(f"one of {', '.join(map(str, parts))} is needed")
        return found
    if origin is tuple:
        return tuple(_value(item.strip(), parts[0]) for item in text.split(",") if item.strip())
    if hint is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("true or false is needed")
        return text.lower() == "true"
    if hint is str:
        return text
    if hint not in (int, float):
        raise ValueError(f"a field of type {hint} cannot be replaced")
    try:
        number = hint(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"a {'whole ' if hint is int else ''}number is needed")
    return number
