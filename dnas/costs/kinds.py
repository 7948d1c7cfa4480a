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

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
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


_KINDS: dict[str, OperatorKind] = {}


def register_operator(kind: OperatorKind) -> OperatorKind:
    """Make ``kind`` known under its name; registering the same object again does nothing.

    Raises:
        ConfigError: Another kind has that name.
    """
    if _KINDS.setdefault(kind.name, kind) is not kind:
        raise ConfigError(
            f"an operator kind named {kind.name!r} is registered already; give yours another name"
        )
    return kind


def known_kinds() -> list[str]:
    """Names of all registered kinds."""
    return sorted(_KINDS)


def find_kind(operator: Operator) -> OperatorKind:
    """The kind of ``operator``.

    Raises:
        CostError: No kind of that name is registered.
    """
    if operator.kind not in _KINDS:
        raise CostError(
            f"operator {operator}: no operator kind {operator.kind!r} is registered; known are "
            f"{', '.join(known_kinds())}. Call dnas.costs.register_operator where the search "
            "space is defined"
        )
    return _KINDS[operator.kind]


def completed(operator: Operator) -> Operator:
    """``operator`` with its kind's defaults filled in; unchanged if its kind is not registered."""
    kind = _KINDS.get(operator.kind)
    return operator if kind is None else kind.complete(operator)
