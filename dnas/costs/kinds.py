"""Kinds of operators: how to make one of given sizes, and what to feed it, so that it is measured.

A kind is the bridge from an :class:`~dnas.core.Operator`, which is a name and numbers, to code that
runs. It should make the very modules that built models are made of. A kind of one's own::

    register_operator(
        OperatorKind(
            "gated_sum",
            make=lambda width: GatedSum(width),
            inputs=lambda batch, generator, *, width: (torch.randn(batch, width),) * 2,
            interpolated=("width",),
        )
    )

Kinds of torch's own layers are in :mod:`dnas.costs.layer_kinds`, those of this library's layers in
:mod:`dnas.models.operator_kinds`.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import nn

from dnas.core import Operator
from dnas.errors import ConfigError, CostError


@dataclass(frozen=True)
class OperatorKind:
    """How operators of one kind are made and fed.

    Attributes:
        name: The operators' ``kind``.
        make: ``(**sizes) -> nn.Module``. Its parameters are the kind's sizes; those with a number
            as default may be left out of an operator.
        inputs: ``(batch rows, CPU generator, **sizes)``, the first two by position: positional
            arguments of the module's ``forward``, on the CPU.
        per_call: Operators that one call of the module runs: features of a fused look-up.
        interpolated: Sizes between whose measured values a price may be interpolated; all others
            must match exactly, as a kernel width or an activation must.
        baseline: ``(**sizes)`` to an operator whose time is subtracted before the division by
            ``per_call``: what a call takes anyway, where that is priced as an operator of its own.
        batches: Different inputs that calls take in turns. 1 leaves the inputs in the cache, where
            the layer before has just put them; look-ups need several, else they find the rows of
            the last call there.
    """

    name: str
    make: Callable[..., nn.Module]
    inputs: Callable[..., tuple[Any, ...]]
    per_call: int = 1
    interpolated: tuple[str, ...] = ()
    baseline: Callable[..., Operator] | None = None
    batches: int = 1

    def __post_init__(self) -> None:
        if self.per_call < 1 or self.batches < 1:
            raise ConfigError(
                f"operator kind {self.name!r}: per_call {self.per_call} and batches {self.batches} "
                "must be at least 1"
            )
        unknown = [name for name in self.interpolated if name not in self.sizes]
        if unknown:
            raise ConfigError(
                f"operator kind {self.name!r}: interpolated names {unknown}, but make takes "
                f"{', '.join(self.sizes)}"
            )

    @cached_property
    def sizes(self) -> dict[str, int | float | None]:
        """The parameters of ``make`` with their defaults, None where a size must be given."""
        found: dict[str, int | float | None] = {}
        for name, parameter in inspect.signature(self.make).parameters.items():
            if parameter.default is parameter.empty:
                found[name] = None
            elif isinstance(parameter.default, int | float):
                found[name] = parameter.default
        return found

    def complete(self, operator: Operator) -> Operator:
        """``operator`` with the defaults of the sizes that it leaves out.

        Raises:
            CostError: It has a size that the kind does not know, or lacks one without a default.
        """
        given = dict(operator.sizes)
        unknown = sorted(set(given) - set(self.sizes))
        missing = [name for name, default in self.sizes.items() if default is None]
        missing = [name for name in missing if name not in given]
        if unknown or missing:
            wrong = [f"has no size {name!r}" for name in unknown]
            wrong += [f"needs the size {name!r}" for name in missing]
            raise CostError(
                f"operator {operator}: its kind {' and '.join(wrong)}; sizes are "
                f"{', '.join(self.sizes)}"
            )
        defaults = {name: value for name, value in self.sizes.items() if value is not None}
        return Operator.of(self.name, **{**defaults, **given})


@dataclass(frozen=True)
class _Origin:
    """Where a kind's ``make`` is defined, and in which run of that module's code."""

    qualified_name: str
    module: str
    file: str | None
    run: object

    @classmethod
    def of(cls, make: Any) -> _Origin:
        while isinstance(make, partial):
            make = make.func
        name = str(getattr(make, "__module__", None))
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        return cls(
            getattr(make, "__qualname__", type(make).__qualname__),
            name,
            None if file is None else os.path.realpath(file),
            # A reload gives a module another one. Scripts and notebooks have none.
            getattr(module, "__spec__", None),
        )

    def runs_again(self, earlier: _Origin) -> bool:
        """Whether this is the same definition, which was run a second time."""
        same_file = self.file is not None and self.file == earlier.file
        return (
            self.qualified_name == earlier.qualified_name
            and (self.module == earlier.module or same_file)
            and (self.run is None or self.run is not earlier.run)
        )


_KINDS: dict[str, OperatorKind] = {}
_ORIGINS: dict[str, _Origin] = {}


def register_operator(kind: OperatorKind) -> OperatorKind:
    """Make ``kind`` known under its name; registering an equal one again does nothing.

    It replaces the one that the same code registered when it was run before: by
    ``importlib.reload``, in a notebook, or as a script that is also imported under its name.

    Raises:
        ConfigError: Another kind has that name.
    """
    origin, known = _Origin.of(kind.make), _KINDS.get(kind.name)
    if known is not None and known != kind and not origin.runs_again(_ORIGINS[kind.name]):
        earlier = _ORIGINS[kind.name]
        raise ConfigError(
            f"an operator kind named {kind.name!r} is registered already, with make "
            f"{earlier.module}.{earlier.qualified_name}; give yours another name"
        )
    _KINDS[kind.name], _ORIGINS[kind.name] = kind, origin
    return kind


def _kind_named(name: str) -> OperatorKind | None:
    if name not in _KINDS:
        _load_built_in()
    return _KINDS.get(name)


def _load_built_in() -> None:
    """Register the kinds of this library's layers.

    By name and on demand: models are made with what is in this package, so they cannot be imported
    at its top, and whoever asks for a kind need not know in which package it is registered.
    """
    importlib.import_module("dnas.models")


def known_kinds() -> list[str]:
    """Names of all registered kinds, the built-in ones among them."""
    _load_built_in()
    return sorted(_KINDS)


def find_kind(operator: Operator) -> OperatorKind:
    """The kind of ``operator``.

    Raises:
        CostError: No kind of that name is registered.
    """
    kind = _kind_named(operator.kind)
    if kind is None:
        raise CostError(
            f"operator {operator}: no operator kind {operator.kind!r} is registered; known are "
            f"{', '.join(known_kinds())}. Call dnas.costs.register_operator where the search "
            "space is defined"
        )
    return kind


def completed(operator: Operator) -> Operator:
    """``operator`` with its kind's defaults filled in; unchanged if its kind is not registered."""
    kind = _kind_named(operator.kind)
    return operator if kind is None else kind.complete(operator)
