"""Operator kinds of NASRec networks, to be measured; layer norms and look-ups have theirs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.costs import OperatorKind, register_operator
from supernets.nasrec.dense_operators import dot_products
from supernets.nasrec.sparse_operators import attend, attend_in_heads


class _Linear(nn.Module):
    """A linear, of which the inputs may be none."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """``(..., inputs)`` to ``(..., outputs)``."""
        return F.linear(x, self.weight, self.bias)


class _Dot(nn.Module):
    """``dot_products`` of a dense vector and others."""

    def forward(self, dense: Tensor, rows: Tensor) -> Tensor:
        """``(B, e)`` and ``(B, e, k)`` to their products."""
        return dot_products(dense, rows)


class _Attention(nn.Module):
    """``attend``, or ``attend_in_heads`` where there are several."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        """``(B, e, N)``, or ``(B, N, 3 e)`` of several heads."""
        if self.heads > 1:
            return attend_in_heads(x, self.heads)
        return attend(x.transpose(1, 2).contiguous()).transpose(1, 2)


def _linear(inputs: int, outputs: int, vectors: int = 1, bias: int = 0) -> nn.Module:
    return _Linear(inputs, outputs, bias=bool(bias))


def _linear_inputs(
    batch: int, generator: torch.Generator, /, *, inputs: int, vectors: int, **_: Any
) -> tuple[Tensor, ...]:
    shape = (batch, inputs) if vectors == 1 else (batch, vectors, inputs)
    return (torch.randn(*shape, generator=generator),)


def _dot(vectors: int, dim: int) -> nn.Module:
    return _Dot()


def _dot_inputs(
    batch: int, generator: torch.Generator, /, *, vectors: int, dim: int
) -> tuple[Tensor, ...]:
    dense = torch.randn(batch, dim, generator=generator)
    return dense, torch.randn(batch, dim, vectors - 1, generator=generator)


def _attention(vectors: int, dim: int, heads: int = 1) -> nn.Module:
    return _Attention(heads)


def _attention_inputs(
    batch: int, generator: torch.Generator, /, *, vectors: int, dim: int, heads: int
) -> tuple[Tensor, ...]:
    shape = (batch, vectors, 3 * dim) if heads > 1 else (batch, dim, vectors)
    return (torch.randn(*shape, generator=generator),)


for _kind in (
    OperatorKind("nasrec_linear", _linear, _linear_inputs, interpolated=("inputs", "outputs")),
    OperatorKind("nasrec_dot", _dot, _dot_inputs, interpolated=("vectors", "dim")),
    OperatorKind(
        "nasrec_attention", _attention, _attention_inputs, interpolated=("vectors", "dim")
    ),
):
    register_operator(_kind)
