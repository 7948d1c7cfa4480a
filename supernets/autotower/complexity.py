"""What blocks and poolings cost, exactly and as AutoTower's paper counts.

Letters: n inputs of a block, D dimension of a block's output, H heads, A width of a head; L
positions of a history, W width of a position's vector.

Exact FLOPs are those of ``dnas.costs.formulas``: 2 x MACs of the products that are computed. The
published figures are something else, and the limits of the paper's Table 3 are limits of these:

- they are *half* of the MACs, a quarter of what is usually called FLOPs;
- batch norm and element-wise products count D each, an average as many as a product, other
  element-wise functions nothing; the last block has a batch norm, which is never run;
- self-attention pooling is counted for every position, see
  :class:`dnas.models.towers.SelfAttentionPooling` for what of it has to be computed.

Whether an average counts like a product is not stated anywhere, and too little to be seen in the
published figures, which have two digits.
"""

from __future__ import annotations

from dnas.costs.formulas import (
    interacting_flops,
    interacting_params,
    linear_flops,
    linear_params,
    mlp_flops,
    mlp_params,
)
from dnas.models.towers.blocks import HEAD_WIDTH
from dnas.models.towers.pooling import TRANSFORMER_HEADS
from dnas.models.towers.transformer import transformer_flops, transformer_params


def block_flops(operation: str, inputs: int, dim: int) -> int:
    """FLOPs of a block for a row.

    Args:
        operation: One of ``dnas.models.towers.OPERATIONS``.
        inputs: n.
        dim: D.
    """
    kind, size = _parsed(operation)
    if kind == "mlp":
        return mlp_flops((inputs * dim, size, dim))
    if kind == "ew":
        return linear_flops(dim, dim)
    attention = interacting_flops(inputs, dim, size, HEAD_WIDTH)
    return attention + linear_flops(inputs * size * HEAD_WIDTH, dim)


def block_params(operation: str, inputs: int, dim: int, *, norm: bool) -> int:
    """Parameters of a block, with or without those of a norm."""
    kind, size = _parsed(operation)
    norm_params = 2 * dim if norm else 0
    if kind == "mlp":
        return norm_params + mlp_params((inputs * dim, size, dim))
    if kind == "ew":
        return norm_params + linear_params(dim, dim)
    attention = interacting_params(dim, size, HEAD_WIDTH) + 4 * size * HEAD_WIDTH
    return norm_params + attention + linear_params(inputs * size * HEAD_WIDTH, dim)


def published_block_flops(operation: str, inputs: int, dim: int) -> float:
    """A block's FLOPs as published, wherever it stands."""
    reduced = (inputs - 1) * dim if operation in ("ew_avg", "ew_product") else 0
    return block_flops(operation, inputs, dim) / 4 + (dim + reduced) / 2


def _parsed(operation: str) -> tuple[str, int]:
    kind, _, name = operation.partition("_")
    return kind, 0 if kind == "ew" else int(name)


def pooling_flops(kind: str, width: int, positions: int) -> int:
    """FLOPs of a pooling for a row.

    Args:
        kind: One of ``dnas.models.towers.POOLINGS``.
        width: W.
        positions: L.
    """
    if kind == "self_attentive":
        return positions * (mlp_flops((width, width, 1)) + 2 * width)
    if kind == "self_attention":
        query_key = positions * linear_flops(width, 2 * width)
        scores = positions * linear_flops(width, positions)
        return query_key + scores + 2 * positions * width + mlp_flops((width, width, width))
    if kind == "transformer":
        return transformer_flops(width, positions, TRANSFORMER_HEADS, width)
    return 0


def pooling_params(kind: str, width: int, positions: int) -> int:
    """Parameters of a pooling."""
    if kind == "self_attentive":
        return positions * width + width * width + width
    if kind == "self_attention":
        return positions * width + 4 * linear_params(width, width)
    if kind == "transformer":
        return transformer_params(width, positions, TRANSFORMER_HEADS, width)
    return 0


def published_pooling_flops(kind: str, width: int, positions: int) -> float:
    """A pooling's FLOPs as published: half of the MACs, masks included.

    A Transformer layer is none of the paper's; of it the products count.
    """
    masked = positions * width
    if kind == "transformer":
        return pooling_flops(kind, width, positions) / 4
    if kind == "self_attentive":
        # Both layers, the weighted sum, the mask of the vectors and that of the scores.
        macs = positions * (width * width + 2 * width) + masked + positions
    elif kind == "self_attention":
        # Four layers, both products, the mask of the result and that of the scores.
        products = 4 * width * width + 2 * positions * width
        macs = positions * products + masked + positions * positions
    else:
        macs = masked
    return macs / 2
