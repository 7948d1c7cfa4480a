"""Poolings of a history that weigh all its items alike. Letters: U users, L positions, W width."""

from __future__ import annotations

from torch import Tensor, nn


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
