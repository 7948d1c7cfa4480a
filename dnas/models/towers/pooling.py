"""Pooling of a history into one vector, by name. Letters: U users, L positions, W width.

A pooling takes the vectors of the positions and whether there is an item. Without any item it gives
zeros.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from dnas.models.towers.attention_pooling import SelfAttentionPooling, SelfAttentivePooling
from dnas.models.towers.mean_pooling import AveragePooling, SumPooling
from dnas.models.towers.transformer import TransformerPooling

#: Heads of a Transformer layer that is chosen by name.
TRANSFORMER_HEADS = 4
_TRANSFORMER_DROPOUT = 0.2


def _transformer(width: int, positions: int) -> TransformerPooling:
    return TransformerPooling(
        width,
        positions,
        heads=TRANSFORMER_HEADS,
        feed_forward=width,
        dropout=_TRANSFORMER_DROPOUT,
    )


_MAKERS: dict[str, Callable[[int, int], nn.Module]] = {
    "average": lambda width, positions: AveragePooling(),
    "sum": lambda width, positions: SumPooling(),
    "self_attention": SelfAttentionPooling,
    "self_attentive": SelfAttentivePooling,
    "transformer": _transformer,
}
#: Names of all poolings.
POOLINGS = tuple(_MAKERS)
#: Those among which AutoTower chooses.
PAPER_POOLINGS = POOLINGS[:4]


def make_pooling(kind: str, width: int, positions: int) -> nn.Module:
    """The pooling of this name, freshly initialised.

    Args:
        kind: One of ``POOLINGS``.
        width: W.
        positions: L.
    """
    return _MAKERS[kind](width, positions)
