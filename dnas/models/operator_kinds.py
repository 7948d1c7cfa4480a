"""Operator kinds of the layers in this package: the code that built models run, one piece each.

A model looks up all features of one dimension in one fused table, so embeddings are priced in
three parts: ``embedding``, what one feature more in a group takes; ``embedding_group``, what a
group takes whatever is in it; ``embedding_join``, what it takes to bring several groups into the
features' order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Operator
from dnas.costs.kinds import OperatorKind, register_operator
from dnas.data.batch import Bags
from dnas.models.embeddings import EmbeddingTables, join_groups
from dnas.models.interaction import make_interaction
from dnas.models.mlp import MLP

#: Features of the fused look-up in which one feature is measured.
_FEATURES = 32
#: Bytes of a fused table up to which every feature has as many rows as it says. Beyond, the table
#: as a whole is as large as one feature's, so that as much memory is reached into.
_FUSED_BYTES = 2**28
_BATCHES_OF_IDS = 16
_BYTES = 4


def _linear(inputs: int, outputs: int, relu: int = 0) -> nn.Module:
    return MLP((inputs, outputs), last_activation=bool(relu))


def _linear_inputs(
    batch: int, generator: torch.Generator, /, *, inputs: int, **_: Any
) -> tuple[Tensor, ...]:
    return (torch.randn(batch, inputs, generator=generator),)


def zipf_ids(count: int, rows: int, skew: float, generator: torch.Generator) -> Tensor:
    """``(count,)`` ids of which the k-th most frequent is as likely as ``k ** -skew``.

    Drawn by inverting the distribution function of the continuous law on [1, rows + 1), and spread
    over the table, where frequent ids need not be neighbours.

    Args:
        count: How many.
        rows: Ids are from 0 to rows - 1.
        skew: 0: all ids are equally likely.
        generator: On the CPU.
    """
    u = torch.rand(count, dtype=torch.float64, generator=generator)
    if abs(skew - 1) < 1e-6:
        rank = (rows + 1.0) ** u
    else:
        power = 1.0 - skew
        rank = (1.0 + u * ((rows + 1.0) ** power - 1.0)) ** (1.0 / power)
    ids = (rank.long() - 1).clamp(0, rows - 1)
    return ids * 2_654_435_761 % rows  # a prime above all table sizes: a permutation


def _rows_each(rows: int, dim: int) -> int:
    """Rows of each of the features that are measured together."""
    fitting = _FUSED_BYTES // (_FEATURES * dim * _BYTES)
    return min(rows, max(rows // _FEATURES, fitting, 1))


class _OneGroup(nn.Module):
    """The look-up of features of one dimension, in tables that hold another group as well.

    Args:
        rows: Rows of each of the group's tables.
        dim: Their dimension.
        width: What vectors are padded to.
    """

    def __init__(self, rows: tuple[int, ...], dim: int, width: int) -> None:
        super().__init__()
        other = dim - 1 if dim > 1 else 2
        dims = (dim,) * len(rows) + (other,)
        self.tables = EmbeddingTables((*rows, 1), dims, max(width, *dims))
        self.number = sorted({dim, other}).index(dim)

    def forward(self, ids: Tensor | Bags) -> Tensor:
        """Ids of the group's features and of the other to ``(B, len(rows), width)``."""
        return self.tables.look_up_group(self.number, ids)


class _Join(nn.Module):
    """The vectors of two groups in the order of their features."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(features).roll(features // 2), persistent=False)
        self.order: Tensor

    def forward(self, *parts: Tensor) -> Tensor:
        """``(B, n, width)`` each to ``(B, features, width)``."""
        return join_groups(parts, self.order)


def _embedding(rows: int, dim: int, width: int = 0, bag: int = 1, skew: float = 0.0) -> nn.Module:
    """``width`` is what vectors are padded to, 0: not padded; ``bag`` the mean ids of a bag."""
    return _OneGroup((_rows_each(rows, dim),) * _FEATURES, dim, width or dim)


def _embedding_inputs(
    batch: int,
    generator: torch.Generator,
    /,
    *,
    rows: int,
    dim: int,
    bag: int,
    skew: float,
    **_: Any,
) -> tuple[Tensor | Bags]:
    return _ids(batch, _FEATURES, _rows_each(rows, dim), bag, skew, generator)


def _embedding_group(dim: int, width: int, bag: int = 1) -> nn.Module:
    return _OneGroup((1,), dim, width)


def _group_inputs(
    batch: int, generator: torch.Generator, /, *, bag: int, **_: Any
) -> tuple[Tensor | Bags]:
    return _ids(batch, 1, 1, bag, 0.0, generator)


def _ids(
    batch: int, features: int, rows: int, bag: float, skew: float, generator: torch.Generator
) -> tuple[Tensor | Bags]:
    """One id for each feature and one more, or bags of them with ``bag`` ids in the mean."""
    bags = batch * (features + 1)
    if bag == 1:
        return (zipf_ids(bags, rows, skew, generator).view(batch, features + 1),)
    offsets = (torch.arange(bags + 1) * float(bag)).long()
    return (Bags(zipf_ids(int(offsets[-1]), rows, skew, generator), offsets),)


def _group_of(*, dim: int, width: int, bag: int, **_: Any) -> Operator:
    return Operator.of("embedding_group", dim=dim, width=width or dim, bag=bag)


def _join(features: int, width: int) -> nn.Module:
    return _Join(features)


def _join_inputs(
    batch: int, generator: torch.Generator, /, *, features: int, width: int
) -> tuple[Tensor, ...]:
    counts = (features // 2, features - features // 2)
    return tuple(torch.randn(batch, count, width, generator=generator) for count in counts)


def _dot_interaction(vectors: int, dim: int, diagonal: int = 0) -> nn.Module:
    return make_interaction("dot", vectors, dim, self_interaction=bool(diagonal))


def _cat_interaction(vectors: int, dim: int) -> nn.Module:
    return make_interaction("cat", vectors, dim, self_interaction=False)


def _interaction_inputs(
    batch: int, generator: torch.Generator, /, *, vectors: int, dim: int, **_: Any
) -> tuple[Tensor, ...]:
    x = torch.randn(batch, dim, generator=generator)
    return x, torch.randn(batch, vectors - 1, dim, generator=generator)


for _kind in (
    OperatorKind("linear", _linear, _linear_inputs, interpolated=("inputs", "outputs")),
    OperatorKind(
        "embedding",
        _embedding,
        _embedding_inputs,
        per_call=_FEATURES,
        interpolated=("rows", "dim"),
        baseline=_group_of,
        batches=_BATCHES_OF_IDS,
    ),
    OperatorKind("embedding_group", _embedding_group, _group_inputs, interpolated=("dim", "width")),
    OperatorKind("embedding_join", _join, _join_inputs, interpolated=("features", "width")),
    OperatorKind(
        "dot_interaction",
        _dot_interaction,
        _interaction_inputs,
        interpolated=("vectors", "dim"),
    ),
    OperatorKind(
        "cat_interaction",
        _cat_interaction,
        _interaction_inputs,
        interpolated=("vectors", "dim"),
    ),
):
    register_operator(_kind)
