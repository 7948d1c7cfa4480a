"""A Transformer layer over the history.

Letters: U users, L positions, W width of a position, H heads, A width of a head, F hidden units.

.. [Chen2019bst] Behavior Sequence Transformer, arXiv:1905.06874, section 2.2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dnas.costs.formulas import linear_flops, linear_params
from dnas.models.towers.mean_pooling import AveragePooling


def _width_of_heads(width: int, heads: int) -> int:
    return heads * max(width // heads, 1)


def transformer_flops(width: int, positions: int, heads: int, feed_forward: int) -> int:
    """2 x MACs of the layer for a user; letters as in :class:`TransformerPooling`."""
    inner = _width_of_heads(width, heads)
    pairs = ((width, 3 * inner), (inner, width), (width, feed_forward), (feed_forward, width))
    products = 2 * 2 * positions * inner  # of a query: scores, and the sum of the values
    return positions * (sum(linear_flops(i, o) for i, o in pairs) + products)


def transformer_params(width: int, positions: int, heads: int, feed_forward: int) -> int:
    """Parameters of the layer, the vectors of the positions among them."""
    inner = _width_of_heads(width, heads)
    pairs = ((width, 3 * inner), (inner, width), (width, feed_forward), (feed_forward, width))
    norms = 2 * 2 * width
    return positions * width + norms + sum(linear_params(i, o) for i, o in pairs)


class TransformerPooling(nn.Module):
    """The mean of what one Transformer layer makes of the positions, [Chen2019bst]_.

    ``s = norm(x + dropout(attention(x)))``, ``y = norm(s + dropout(W_2 lrelu(W_1 s)))`` with
    learned vectors of the positions in x, then the mean of the positions with an item; zeros
    without any. Norms, dropout and activation are those of [Chen2019bst]_. The published model
    ranks: the item to be scored is one of its positions, and the positions' vectors are those of
    the time since, beside the items'. A user tower knows neither, and here they are of the places
    in the history and added.

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
        inner = _width_of_heads(width, heads)
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
        self.flops = transformer_flops(width, positions, heads, feed_forward)

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
