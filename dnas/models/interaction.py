"""Feature interactions of DLRM: pairwise dot products, or concatenation.

Letters: B rows, F + 1 vectors (bottom output first), D their dimension.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dnas.core.operator import Operator
from dnas.costs.formulas import dot_interaction_flops
from dnas.errors import ConfigError
from dnas.models.dense import autocast_to


class DotInteraction(nn.Module):
    """``R = [x, lower triangle of T T^T]`` with ``T = [x, e_1, ..., e_F]``.

    Args:
        num_vectors: F + 1.
        dim: D.
        self_interaction: Keep the diagonal, the vectors' squared norms.
    """

    def __init__(self, num_vectors: int, dim: int, *, self_interaction: bool = False) -> None:
        super().__init__()
        rows, columns = torch.tril_indices(
            num_vectors, num_vectors, offset=0 if self_interaction else -1
        )
        self.register_buffer("flat", rows * num_vectors + columns, persistent=False)
        self.register_buffer("flat_mirrored", columns * num_vectors + rows, persistent=False)
        self.flat: Tensor
        self.flat_mirrored: Tensor
        self.output_width = dim + self.flat.numel()
        self.flops = dot_interaction_flops(num_vectors, dim)
        self.operator = Operator.of(
            "dot_interaction", vectors=num_vectors, dim=dim, diagonal=self_interaction
        )

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """``(B, D)`` and ``(B, F, D)`` to ``(B, output_width)``."""
        vectors = torch.cat([x.unsqueeze(1), embeddings], dim=1)  # (B, F + 1, D)
        (t,) = autocast_to([vectors])
        return torch.cat([x, pairwise_dots(t, self.flat, self.flat_mirrored)], dim=1)


def pairwise_dots(t: Tensor, flat: Tensor, flat_mirrored: Tensor) -> Tensor:
    """Entries ``flat`` of ``T T^T`` for each row, ``(B, V, D)`` to ``(B, len(flat))``.

    Args:
        t: V vectors of each row.
        flat: ``i * V + j`` of each entry (i, j).
        flat_mirrored: ``j * V + i``.
    """
    if torch.is_grad_enabled():
        dots: Tensor = _PairwiseDots.apply(t, flat, flat_mirrored)
        return dots
    return _entries(t, flat)


def _entries(t: Tensor, flat: Tensor) -> Tensor:
    return torch.bmm(t, t.transpose(1, 2)).flatten(1).index_select(1, flat)


class _PairwiseDots(torch.autograd.Function):
    """``pairwise_dots`` with a backward pass of its own.

    With G the gradient of Z, filled up symmetrically, that of T is ``(G + G^T) T``: one product,
    where autograd takes one for each factor.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, flat: Tensor, mirrored: Tensor) -> Tensor:
        ctx.save_for_backward(t, flat, mirrored)
        return _entries(t, flat)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        t, flat, mirrored = ctx.saved_tensors
        batch, vectors, _ = t.shape
        both = gradient.new_zeros((batch, vectors * vectors))
        # An entry of the diagonal is its own mirror image and counts twice.
        both.index_add_(1, flat, gradient).index_add_(1, mirrored, gradient)
        return torch.bmm(both.view(batch, vectors, vectors), t), None, None


class CatInteraction(nn.Module):
    """``R = [x, e_1, ..., e_F]``.

    Args:
        num_vectors: F + 1.
        dim: D.
    """

    def __init__(self, num_vectors: int, dim: int) -> None:
        super().__init__()
        self.output_width = num_vectors * dim
        self.flops = 0
        self.operator = Operator.of("cat_interaction", vectors=num_vectors, dim=dim)

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """``(B, D)`` and ``(B, F, D)`` to ``(B, (F + 1) * D)``."""
        return torch.cat([x, embeddings.flatten(1)], dim=1)


def make_interaction(
    kind: str, num_vectors: int, dim: int, *, self_interaction: bool
) -> DotInteraction | CatInteraction:
    """The interaction named ``kind``: ``"dot"`` or ``"cat"``."""
    if kind == "dot":
        return DotInteraction(num_vectors, dim, self_interaction=self_interaction)
    if kind == "cat":
        return CatInteraction(num_vectors, dim)
    raise ConfigError(f"interaction must be 'dot' or 'cat', but got {kind!r}")
