"""A Transformer layer over the history.

Letters: U users, L positions, W width of a position, H heads, A width of a head, F hidden units.

.. [Chen2019bst] Behavior Sequence Transformer, arXiv:1905.06874, section 2.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dnas.costs.formulas import linear_flops
from dnas.models.towers.pooling import AveragePooling


class TransformerPooling(nn.Module):
    """The mean of what one Transformer layer makes of the positions, [Chen2019bst]_.

    ``s = norm(x + dropout(attention(x)))``, ``y = norm(s + dropout(W_2 lrelu(W_1 s)))`` with
    learned vectors of the positions in x, then the mean of the positions with an item; zeros
    without any. The dropout is where [Chen2019bst]_ has it; the published model concatenates the
    positions instead of their mean, and has the item to be scored among them, which a user tower
    does not know.

    Args:
        width: W.
        positions: L; the last position is the latest item.
        heads: H; each has ``A = max(W // H, 1)``.
        feed_forward: F.
        dropout: Probability.

    Attributes:
        flops: Of a user.
    """

    def __init__(
        self, width: int, positions: int, *, heads: int, feed_forward: int, dropout: float
    ) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * max(width // heads, 1)
        self.positions = nn.Parameter(torch.empty(positions, width))
        nn.init.xavier_uniform_(self.positions)
        self.project = nn.Linear(width, 3 * inner)
        self.out = nn.Linear(inner, width)
        self.after_attention = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.LeakyReLU(), nn.Linear(feed_forward, width)
        )
        self.after_feed_forward = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.average = AveragePooling()
        pairs = ((width, 3 * inner), (inner, width), (width, feed_forward), (feed_forward, width))
        products = 2 * 2 * positions * inner  # of a query: scores, and the sum of the values
        self.flops = positions * (sum(linear_flops(i, o) for i, o in pairs) + products)

    def forward(self, vectors: Tensor, present: Tensor) -> Tensor:
        """``(U, L, W)`` and ``(U, L)`` bool to ``(U, W)``."""
        x = vectors + self.positions
        x = self.after_attention(x + self.dropout(self._attended(x, present)))
        x = self.after_feed_forward(x + self.dropout(self.feed_forward(x)))
        return self.average(x, present)

    def _attended(self, x: Tensor, present: Tensor) -> Tensor:
        """``(U, L, W)``: self-attention to the positions with an item."""
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in self.project(x).chunk(3, dim=2)
        )  # (U, H, L, A)
        scores = (query / math.sqrt(query.shape[3])) @ key.transpose(2, 3)  # (U, H, L, L)
        # The smallest number and not minus infinity: of an empty history a softmax is finite.
        absent = ~present[:, None, None, :]
        scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
        return self.out((torch.softmax(scores, dim=3) @ value).transpose(1, 2).flatten(2))
