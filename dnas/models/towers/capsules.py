"""Several interests of a user from the history, by dynamic routing.

Letters: U users, L positions, F fields of a position, D dimension of a field's vector, K interests.

.. [Li2019mind] MIND, arXiv:1904.08030, sections 3.2 and 3.3, algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def squash(vectors: Tensor) -> Tensor:
    """``|z|^2 / (1 + |z|^2) z / |z|`` of vectors z on the last axis; zeros of zeros."""
    square = vectors.square().sum(-1, keepdim=True)
    return vectors * (square / (1 + square) * torch.rsqrt(square + 1e-9))


def route(behaviors: Tensor, present: Tensor, logits: Tensor, iterations: int) -> Tensor:
    """Behaviour-to-interest routing, algorithm 1 of [Li2019mind]_.

    In each iteration ``w_il = softmax_i(b_il)``, ``u_i = squash(sum_l w_il h_l)``; between two of
    them ``b_il += <u_i, h_l>``.

    Args:
        behaviors: ``(U, L, D)`` the h.
        present: ``(U, L)`` bool, whether there is an item.
        logits: ``(K, L)`` or ``(U, K, L)`` b of the first iteration.
        iterations: At least 1.

    Returns:
        ``(U, K, D)``; zeros without a behaviour.
    """
    held = behaviors * present.unsqueeze(2)
    logits = logits.expand(len(held), *logits.shape[-2:])
    interests = squash(logits.softmax(1) @ held)
    for _ in range(iterations - 1):
        logits = logits + interests @ held.transpose(1, 2)
        interests = squash(logits.softmax(1) @ held)
    return interests


class FieldMean(nn.Module):
    """The mean of a row's fields, as [Li2019mind]_ makes the vector of an item.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, vectors: Tensor) -> Tensor:
        """``(..., F * D)`` to ``(..., D)``."""
        return vectors.unflatten(-1, (-1, self.dim)).mean(-2)


class CapsulePooling(nn.Module):
    """K vectors of the history: its items' mean fields, through a shared matrix, routed.

    All interests share the matrix, so that they differ by the first logits only. These are drawn
    once, normal with variance 1, and kept beside the weights: the same for all users, and the same
    vectors whenever a user is asked for. [Li2019mind]_ gives users with short histories fewer
    interests; here all have K.

    Args:
        dim: D.
        positions: L.
        interests: K.
        iterations: Of the routing.

    Attributes:
        interests: K.
        flops: Of a user.
    """

    first_logits: Tensor

    def __init__(self, dim: int, positions: int, *, interests: int, iterations: int) -> None:
        super().__init__()
        self.interests, self.iterations = interests, iterations
        self.item = FieldMean(dim)
        self.shared = nn.Parameter(torch.empty(dim, dim))
        nn.init.xavier_uniform_(self.shared)
        self.register_buffer("first_logits", torch.randn(interests, positions))
        products = 2 * iterations - 1  # with every behaviour, of every interest
        self.flops = 2 * positions * dim * (dim + interests * products)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """``(U, L, F * D)`` and ``(U, L)`` bool to ``(U, K, D)``."""
        behaviors = self.item(vectors) @ self.shared
        return route(behaviors, present, self.first_logits, self.iterations)
