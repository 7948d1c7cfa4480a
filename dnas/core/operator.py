"""Operators: what a built model runs, by kind and sizes, so that it can be measured and priced.

The latency of a model is taken as the sum of its operators' (arXiv:2110.14812, equation 4 with a
measured cost): how often each is run is a property of the architecture, and an expectation under a
sample; what one run takes is a property of a machine, and stands in a table of prices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.errors import CostError

#: A size of an operator as it stands in JSON.
Size = int | float


@dataclass(frozen=True, order=True)
class Operator:
    """One piece of work, such as a linear layer from 383 to 1024 numbers, without the batch.

    Attributes:
        kind: Name of the kind, under which ``dnas.costs`` knows how to run it.
        sizes: Names and values, sorted by name.
    """

    kind: str
    sizes: tuple[tuple[str, Size], ...]

    @classmethod
    def of(cls, kind: str, /, **sizes: Size) -> Operator:
        """``Operator.of("linear", inputs=383, outputs=1024, relu=1)``."""
        return cls(kind, tuple(sorted((name, _plain(value)) for name, value in sizes.items())))

    def size(self, name: str) -> Size:
        """The size called ``name``.

        Raises:
            KeyError: There is none.
        """
        return dict(self.sizes)[name]

    def __str__(self) -> str:
        return f"{self.kind}({', '.join(f'{name}={value}' for name, value in self.sizes)})"


def _plain(value: Size) -> Size:
    """bool and whole floats as ints, so that equal operators have one spelling."""
    return int(value) if value == int(value) else float(value)


@dataclass(frozen=True)
class OperatorCounts:
    """How often each operator runs in a forward pass, expected under a sample.

    Attributes:
        operators: n of them; the same one may stand there several times.
        counts: ``(B, n)`` expected runs, ``(1, n)`` for a shared sample; differentiable.
    """

    operators: tuple[Operator, ...]
    counts: Tensor

    def __post_init__(self) -> None:
        if self.counts.ndim != 2 or self.counts.shape[1] != len(self.operators):
            raise ValueError(
                f"{len(self.operators)} operators, but counts of shape {tuple(self.counts.shape)}; "
                "give (B, operators)"
            )

    def by_operator(self) -> dict[Operator, Tensor]:
        """``(B,)`` counts of each distinct operator."""
        found: dict[Operator, Tensor] = {}
        for operator, count in zip(self.operators, self.counts.unbind(1), strict=True):
            found[operator] = found[operator] + count if operator in found else count
        return found


def joined(parts: Iterable[OperatorCounts], reference: Tensor) -> OperatorCounts:
    """The operators of several parts of a network.

    Args:
        parts: Counts with ``(B, n)`` each, or ``(1, n)``.
        reference: ``(B, ...)``: says B, dtype and device where there is no part.
    """
    parts = [part for part in parts if part.operators]
    rows = max([reference.shape[0], *(part.counts.shape[0] for part in parts)])
    counts = [part.counts.to(reference.dtype).expand(rows, -1) for part in parts]
    return OperatorCounts(
        tuple(operator for part in parts for operator in part.operators),
        torch.cat(counts, dim=1) if counts else reference.new_zeros(rows, 0),
    )


class Pricing:
    """Prices of operators, looked up once, as a cost of that name.

    Args:
        name: Of the cost.
        prices: Price of one run of an operator; raises :class:`~dnas.errors.CostError` where it
            has none.
    """

    def __init__(self, name: str, prices: Callable[[Operator], float]) -> None:
        self.name = name
        self.prices = prices
        self._known: dict[Operator, float] = {}
        #: Operators of the last counts, and their prices on the device of those: in a search the
        #: same ones come again and again, and a GPU is not to be waited for.
        self._last: tuple[tuple[Operator, ...], Tensor] | None = None

    def __call__(self, counts: OperatorCounts) -> Tensor:
        """``(B,)`` expected sum of prices."""
        last, device = self._last, counts.counts.device
        if last is None or last[0] != counts.operators or last[1].device != device:
            numbers = [self.of(operator) for operator in counts.operators]
            prices = torch.tensor(numbers, dtype=torch.float64, device=device)
            self._last = last = counts.operators, prices
        return counts.counts @ last[1].to(counts.counts.dtype)

    def of(self, operator: Operator) -> float:
        """The price of one run.

        Raises:
            CostError: It has none, or its price is no number that could be one.
        """
        if operator not in self._known:
            price = self.prices(operator)
            if not (isinstance(price, int | float) and 0 <= price < math.inf):
                raise CostError(
                    f"{self.name}: the price of {operator} is {price!r}; give a number of 0 or more"
                )
            self._known[operator] = price
        return self._known[operator]
