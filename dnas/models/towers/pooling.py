"""Pooling of a history into one vector. Letters: U users, L positions, W width.

A pooling takes the vectors of the positions and whether there is an item. Without any item it gives
zeros.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from dnas.models.towers.attention_pooling import SelfAttentionPooling, SelfAttentivePooling


class AveragePooling(nn.Module):
    """The mean of the vectors of the items that are there; zeros without any."""

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """``(U, L, W)`` and ``(U, L)`` bool to ``(U, W)``."""
        total = (vectors * present.unsqueeze(-1)).sum(1)
        return total / present.sum(1, keepdim=True).clamp(min=1)


class SumPooling(nn.Module):
    """The sum of the vectors of the items that are there."""

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """``(U, L, W)`` and ``(U, L)`` bool to ``(U, W)``."""
        return (vectors * present.unsqueeze(-1)).sum(1)


_MAKERS: dict[str, Callable[[int, int], nn.Module]] = {
    "average": lambda width, positions: AveragePooling(),
    "sum": lambda width, positions: SumPooling(),
    "self_attention": SelfAttentionPooling,
    "self_attentive": SelfAttentivePooling,
}
#: Names of all poolings.
POOLINGS = tuple(_MAKERS)


def make_pooling(kind: str, width: int, positions: int) -> nn.Module:
    """The pooling of this name, freshly initialised.

    Args:
        kind: One of ``POOLINGS``.
        width: W.
        positions: L.
    """
    return _MAKERS[kind](width, positions)
