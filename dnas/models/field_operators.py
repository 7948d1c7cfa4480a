"""Operators of factorization-based models, and their kinds: what ``FieldModel`` runs.

Letters: B rows of a batch, M fields, D dimension, H vectors of a layer of the CIN.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.operator import Operator
from dnas.costs.kinds import OperatorKind, register_operator
from dnas.models.cin import cin_layer, last_cin_layer
from dnas.models.factorization import FactorizationMachine
from dnas.models.initialization import make_linear
from dnas.models.interacting import InteractingLayer
from dnas.models.operators import embedding_operators, linear_operator


def first_order_operators(num_dense: int, rows: Sequence[int], skew: float) -> list[Operator]:
    """A ``FirstOrder``."""
    return [*embedding_operators(rows, 1, skew), linear_operator(num_dense, 1, relu=False)]


def field_operators(num_dense: int, rows: Sequence[int], dim: int, skew: float) -> list[Operator]:
    """A ``FieldVectors``."""
    numbers = Operator.of("numeric_vectors", dense=num_dense, features=len(rows), dim=dim)
    return [*embedding_operators(rows, dim, skew), numbers]


def factorization_operator(num_vectors: int, dim: int) -> Operator:
    """A ``FactorizationMachine``."""
    return Operator.of("factorization_machine", vectors=num_vectors, dim=dim)


def interacting_operators(
    num_vectors: int, dim: int, *, layers: int, heads: int, head_dim: int
) -> list[Operator]:
    """An ``InteractingStack``."""
    width = heads * head_dim
    sizes = {"vectors": num_vectors, "heads": heads, "head_dim": head_dim}
    dims = (dim, *[width] * (layers - 1))
    stack = [Operator.of("interacting_layer", dim=d, **sizes) for d in dims]
    return [*stack, linear_operator(num_vectors * width, 1, relu=False)]


def cin_operators(num_vectors: int, dim: int, sizes: Sequence[int]) -> list[Operator]:
    """A ``CompressedInteraction``."""
    layers = [
        Operator.of("cin_layer", vectors=num_vectors, below=below, above=above, dim=dim, last=last)
        for (below, above), last in zip(
            pairwise((num_vectors, *sizes)), [0] * (len(sizes) - 1) + [1], strict=True
        )
    ]
    return [*layers, linear_operator(sum(sizes), 1, relu=False)]


class _NumericVectors(nn.Module):
    """The numeric part of ``FieldVectors``, and the concatenation with the others."""

    def __init__(self, dense: int, dim: int) -> None:
        super().__init__()
        self.numbers = nn.Parameter(torch.randn(dense, dim))

    def forward(self, dense: Tensor, embedded: Tensor) -> Tensor:
        """``(B, N)`` and ``(B, F, D)`` to ``(B, M, D)``."""
        return torch.cat([dense.unsqueeze(2) * self.numbers, embedded], dim=1)


class _CINLayer(nn.Module):
    """One layer of the CIN with the sum over D that follows it."""

    def __init__(self, vectors: int, below: int, above: int, last: bool) -> None:
        super().__init__()
        self.weights = make_linear(below * vectors, above, bias=False)
        self.last = last

    def forward(self, hidden: Tensor, first: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """``(B, D, H_{k-1})`` and ``(B, D, M)`` to H_k vectors and sums, or to sums alone."""
        if self.last:
            return last_cin_layer(hidden, first, self.weights)
        found = cin_layer(hidden, first, self.weights)
        return found, found.sum(dim=1)


def _numeric(dense: int, features: int, dim: int) -> nn.Module:
    return _NumericVectors(dense, dim)


def _numeric_inputs(
    batch: int, generator: torch.Generator, /, *, dense: int, features: int, dim: int
) -> tuple[Tensor, Tensor]:
    numbers = torch.randn(batch, dense, generator=generator)
    return numbers, torch.randn(batch, features, dim, generator=generator)


def _factorization(vectors: int, dim: int) -> nn.Module:
    return FactorizationMachine()


def _interacting(vectors: int, dim: int, heads: int, head_dim: int) -> nn.Module:
    return InteractingLayer(dim, heads, head_dim)


def _vectors(
    batch: int, generator: torch.Generator, /, *, vectors: int, dim: int, **_: Any
) -> tuple[Tensor]:
    return (torch.randn(batch, vectors, dim, generator=generator),)


def _cin(vectors: int, below: int, above: int, dim: int, last: int = 0) -> nn.Module:
    return _CINLayer(vectors, below, above, bool(last))


def _cin_inputs(
    batch: int, generator: torch.Generator, /, *, vectors: int, below: int, dim: int, **_: Any
) -> tuple[Tensor, Tensor]:
    hidden = torch.randn(batch, dim, below, generator=generator)
    return hidden, torch.randn(batch, dim, vectors, generator=generator)


for _kind in (
    OperatorKind(
        "numeric_vectors", _numeric, _numeric_inputs, interpolated=("dense", "features", "dim")
    ),
    OperatorKind(
        "factorization_machine", _factorization, _vectors, interpolated=("vectors", "dim")
    ),
    OperatorKind(
        "interacting_layer",
        _interacting,
        _vectors,
        interpolated=("vectors", "dim", "head_dim"),
    ),
    OperatorKind("cin_layer", _cin, _cin_inputs, interpolated=("vectors", "below", "above", "dim")),
):
    register_operator(_kind)
