"""An operator at its place in a network: sizes, inputs, and what all operators have.

Letters as in :mod:`supernets.nasrec.shape`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from dnas.core import Operator as Work
from supernets.nasrec.layers import Layer, Linear, Norm, Weights
from supernets.nasrec.shape import Ranges, Shape, upto


@dataclass(frozen=True)
class Site:
    """Where an operator stands: the sizes of one block.

    Attributes:
        shape: Of the space.
        dense: Places of the concatenated dense input.
        sparse: Of the sparse input.
        left: Of the first input of gate and sum.
        right: Of the second.
        dense_dim: D.
        sparse_dim: N.
        whole: This is the supernet itself, which has the linears that only some networks leave out.
    """

    shape: Shape
    dense: Ranges
    sparse: Ranges
    left: Ranges
    right: Ranges
    dense_dim: int
    sparse_dim: int
    whole: bool = False

    def needs_linear(self, width: int, out: int) -> bool:
        """Whether a projection from ``width`` to ``out`` is a linear and not the identity."""
        return self.whole or not self.shape.pad_inputs or width != out


@dataclass(frozen=True)
class Inputs:
    """What a block reads: dense ``(B, width)`` and sparse ``(B, e, rows)``.

    ``left`` and ``right`` are lists of the sources' outputs, for the released form adds them up; a
    side without a source is one tensor ``(B, 0)``.
    """

    dense: Tensor
    sparse: Tensor
    left: list[Tensor]
    right: list[Tensor]


class Operator:
    """One operator at one site: its layers and what it computes."""

    def __init__(self, site: Site, prefix: str) -> None:
        self.site = site
        self.prefix = prefix

    def layers(self) -> Iterator[Layer]:
        """All layers, for their weights and their costs."""
        raise NotImplementedError

    def bmm_macs(self) -> int:
        """Multiplications of activations with each other, for one row of the batch."""
        return 0

    def products(self) -> Iterator[Work]:
        """Those multiplications, to be measured."""
        return iter(())

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        raise NotImplementedError

    # Layers by their usual names.

    def linear(
        self, part: str, out: int, columns: Ranges, *, times: int = 1, bias: bool | None = None
    ) -> Linear:
        """A linear to ``out``; with a bias where no norm follows, unless said otherwise."""
        has_bias = not self.site.shape.layer_norm if bias is None else bias
        return Linear(f"{self.prefix}.{part}", upto(out), columns, has_bias, times)

    def norms(self, part: str, width: int, *, times: int = 1) -> list[Norm]:
        """The norm, if operators have them."""
        if not self.site.shape.layer_norm:
            return []
        return [Norm(f"{self.prefix}.{part}", upto(width), times)]

    @staticmethod
    def through(layers: list[Linear] | list[Norm], weights: Weights, x: Tensor) -> Tensor:
        """``x`` through the layers, of which there may be none."""
        for layer in layers:
            x = layer(weights, x)
        return x
