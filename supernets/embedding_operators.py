"""What embeddings run, expected: look-ups of features, and what groups of equal dimension add.

A built model looks up all features of one dimension in one table (``dnas.models.EmbeddingTables``):
what a feature adds depends on its rows, its dimension and how skewed its ids are; what a group adds
is paid once, for whatever dimensions occur; and more than one group must be joined. The
probabilities of the last two are products over the features, whose decisions are independent.

Letters: B rows, F features, K row options, N dimension options.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from dnas.core import Operator, OperatorCounts
from dnas.models.operators import embedding_operator

#: For each feature its options, None where there is none.
Options = tuple[tuple[int | None, ...], ...]


def look_ups(
    rows: Options,
    rows_weights: Tensor,
    dims: Options,
    dims_weights: Tensor,
    *,
    width: int,
    skew: float,
) -> OperatorCounts:
    """``embedding(rows, dim, width, bag, skew)`` of every feature with every pair of its options.

    Args:
        rows: Row options.
        rows_weights: ``(B, F, K)``.
        dims: Dimensions.
        dims_weights: ``(B, F, N)``.
        width: D, to which every vector is padded.
        skew: Zipf exponent of the ids.
    """
    pairs = rows_weights.unsqueeze(3) * dims_weights.unsqueeze(2)  # (B, F, K, N)
    operators, places = _pairs(rows, dims, width, skew, pairs.device)
    return OperatorCounts(operators, pairs.flatten(1)[:, places])


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # whoever asks first, training may ask next
def _pairs(
    rows: Options, dims: Options, width: int, skew: float, device: torch.device
) -> tuple[tuple[Operator, ...], Tensor]:
    """The look-ups there are, and their places among all F * K * N pairs.

    Kept, so that a GPU is not waited for at every step.
    """
    most_rows, most_dims = max(map(len, rows)), max(map(len, dims))
    operators, places = [], []
    for f, (counts, widths) in enumerate(zip(rows, dims, strict=True)):
        for k, count in enumerate(counts):
            for n, dim in enumerate(widths):
                if count is not None and dim is not None:
                    operators.append(embedding_operator(count, dim, width, skew))
                    places.append((f * most_rows + k) * most_dims + n)
    return tuple(operators), torch.tensor(places, dtype=torch.int64, device=device)


def groups(dims: Options, dims_weights: Tensor, width: int) -> OperatorCounts:
    """``embedding_group(dim, width)`` for each dimension that occurs; several are joined.

    ``P(d occurs) = 1 - prod_f (1 - p_f(d))``; ``P(join) = 1 - sum_d prod_f p_f(d)``.

    Args:
        dims: Dimensions.
        dims_weights: ``(B, F, N)``.
        width: D, to which every vector is padded.
    """
    operators, is_dim = _dims(dims, width, dims_weights.dtype, dims_weights.device)
    p = torch.einsum("bfn,dfn->bdf", dims_weights, is_dim)
    occurs = 1 - (1 - p).prod(dim=2)  # (B, d)
    join = 1 - p.prod(dim=2).sum(dim=1, keepdim=True)  # (B, 1)
    return OperatorCounts(operators, torch.cat([occurs, join], dim=1))


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _dims(
    dims: Options, width: int, dtype: torch.dtype, device: torch.device
) -> tuple[tuple[Operator, ...], Tensor]:
    """What may run, and ``(d, F, N)``: whether an option is a dimension. Kept like ``_pairs``."""
    distinct = sorted({dim for row in dims for dim in row if dim is not None})
    operators = [Operator.of("embedding_group", dim=dim, width=width) for dim in distinct]
    operators.append(Operator.of("embedding_join", features=len(dims), width=width))
    is_dim = [[[option == dim for option in row] for row in dims] for dim in distinct]
    return tuple(operators), torch.tensor(is_dim, dtype=dtype, device=device)
