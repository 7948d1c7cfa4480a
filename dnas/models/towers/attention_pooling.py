"""Poolings that weigh a history's items by attention. Letters: U users, L positions, W width.

.. [Lin2017structured] A structured self-attentive sentence embedding, arXiv:1703.03130.
.. [Vaswani2017attention] Attention is all you need, arXiv:1706.03762.

In the variants of AutoTower (section 3.2.2), which adds a learned vector to each position, the last
of which is the latest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Score of a position without an item: its weight underflows to 0 beside any item, and all are
#: finite where there is none.
_ABSENT = -(2.0**32)


class SelfAttentivePooling(nn.Module):
    """``h a`` with ``a = softmax(w_2^T tanh(W_1 (h + p)))``: one row of [Lin2017structured]_.

    h are the items' vectors and p those of the positions, which the weights depend on and the sum
    does not have.

    Args:
        width: W.
        positions: L.
    """

    def __init__(self, width: int, positions: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(positions, width))
        self.hidden = nn.Linear(width, width, bias=False)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """``(U, L, W)`` and ``(U, L)`` bool to ``(U, W)``."""
        vectors = vectors * present.unsqueeze(-1)
        scores = self.score(torch.tanh(self.hidden(vectors + self.positions))).squeeze(-1)
        weights = torch.softmax(scores.masked_fill(~present, _ABSENT), dim=-1)  # (U, L)
        return (weights.unsqueeze(1) @ vectors).squeeze(1)


class SelfAttentionPooling(nn.Module):
    """The mean over the items of one head of self-attention, [Vaswani2017attention]_.

    ``mean_i (W_O sum_j a_ij (W_V (h_j + p_j) + b_V) + b_O)`` with ``a_i = softmax_j(<q_i, k_j> /
    sqrt(W))`` over the items that are there, and dropout on a. As all but the softmax is linear,
    the means of a are taken first, and what they weigh is projected after it was summed: the same
    function with half of the operations.

    Args:
        width: W.
        positions: L.
        dropout: Probability that a weight is 0 in training.
    """

    def __init__(self, width: int, positions: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(positions, width))
        self.query_key = nn.Linear(width, 2 * width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """``(U, L, W)`` and ``(U, L)`` bool to ``(U, W)``."""
        vectors = vectors + self.positions
        query, key = self.query_key(vectors).chunk(2, dim=-1)  # (U, L, W) each
        scores = query @ key.transpose(1, 2) / math.sqrt(vectors.shape[-1])  # (U, L, L)
        attention = torch.softmax(scores.masked_fill(~present.unsqueeze(1), _ABSENT), dim=-1)
        # The mean over the queries that are there, of which there may be none.
        share = present / present.sum(1, keepdim=True).clamp(min=1)  # (U, L)
        weights = (self.dropout(attention) * share.unsqueeze(-1)).sum(1)  # (U, L)
        pooled = (weights.unsqueeze(1) @ vectors).squeeze(1)  # (U, W)
        value = F.linear(pooled, self.value.weight) + weights.sum(1, keepdim=True) * self.value.bias
        return self.out(value) * present.any(1, keepdim=True)
