"""What normalizes the outputs of layers."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from torch import nn

#: Over the rows of a batch, or each row by itself.
NormKind = Literal["batch", "layer"]
NORM_KINDS: tuple[str, ...] = get_args(NormKind)
Norm: TypeAlias = nn.BatchNorm1d | nn.LayerNorm


def make_norm(kind: NormKind, width: int) -> Norm:
    """A norm of ``width`` numbers, with a scale and a shift for each."""
    return nn.BatchNorm1d(width) if kind == "batch" else nn.LayerNorm(width)
