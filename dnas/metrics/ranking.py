"""Metrics of full ranking: every item a user may be shown is ranked, none is sampled.

Letters: U users, N items, D width of a vector, M relevant and X excluded items of a user, padded,
K vectors of a user, if there are several: the largest inner product is the score.
Items have ids 1..N, 0 is padding. A rank is a place among the items that are not excluded, best 1.

All is exact and the same for every batch size and device. Scores are inner products of vectors with
coordinates in multiples of 2^-25 (the resolution of a float32 near 1), which float64 sums without
rounding in any order; equal scores are ranked by item id.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Rank of what cannot be found: padding, and relevant items that are excluded. They are misses.
MISSED = 1 << 40
#: Coordinates are rounded to multiples of one over this; products of unit vectors stay below 2^53.
_SCALE = float(1 << 25)
#: The published evaluation looks for hits in a list of so many items.
LIST_LENGTH = 100


def exact_scores(users: Tensor, items: Tensor) -> Tensor:
    """Inner products, free of rounding errors.

    Args:
        users: ``(U, D)`` or ``(U, K, D)``, vectors of length at most 1.
        items: ``(N, D)``, rows of length at most 1.

    Returns:
        ``(U, N)`` float64: whole numbers, 2^50 for two equal unit vectors.
    """
    left, right = ((vectors.double() * _SCALE).round() for vectors in (users, items))
    products = left @ right.T
    return products if products.dim() == 2 else products.amax(1)


def ranks(scores: Tensor, relevant: Tensor, excluded: Tensor) -> Tensor:
    """Places of the relevant items, equal scores by item id.

    Args:
        scores: ``(U, N)``; column j is item ``j + 1``.
        relevant: ``(U, M)`` item ids, each once, padded with 0.
        excluded: ``(U, X)`` ids of items that are not ranked, padded with 0.

    Returns:
        ``(U, M)`` int64 from 1; ``MISSED`` where there is padding or the item is excluded.
    """
    infinity = torch.full_like(scores[:, :1], -torch.inf)
    by_id = torch.cat((infinity, scores), dim=1)  # (U, N + 1), column 0 for the padding
    by_id.scatter_(1, excluded, -torch.inf)
    wanted = by_id.gather(1, relevant)
    ascending = _sorted(by_id)
    found = by_id.shape[1] - torch.searchsorted(ascending, wanted, right=True) + 1
    equal = (ascending[:, 1:] == ascending[:, :-1]) & (ascending[:, 1:] > -torch.inf)
    users = equal.any(1).nonzero().squeeze(1)  # few, if any: only theirs is a stable order needed
    if len(users):
        found[users] = _places(by_id[users]).gather(1, relevant[users])
    return found.masked_fill(wanted == -torch.inf, MISSED)


def _sorted(values: Tensor) -> Tensor:
    """``(U, N)``: each row ascending."""
    if values.device.type == "cpu":
        # Several times faster than torch's, which makes an order too.
        return torch.from_numpy(np.sort(values.numpy(), axis=1))
    return values.sort(dim=1).values


def _places(scores: Tensor) -> Tensor:
    """``(U, N)`` int64: the place of each column in its row, from 1; of equal ones by number."""
    order = scores.argsort(dim=1, descending=True, stable=True)
    place = torch.arange(1, scores.shape[1] + 1, device=scores.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place)


def recall(ranks: Tensor, relevant: Tensor, k: int) -> Tensor:
    """``hits in the first k / number of relevant items``, which may be more than k.

    Args:
        ranks: ``(U, M)``.
        relevant: ``(U,)`` how many relevant items each user has, at least 1.
        k: Length of the list.

    Returns:
        ``(U,)`` float64.
    """
    return (ranks <= k).sum(1) / relevant.double()


def ndcg(ranks: Tensor, relevant: Tensor, k: int) -> Tensor:
    """Normalized discounted cumulative gain, ``DCG@k / ideal DCG@k`` with binary relevance.

    ``DCG@k = sum over hits 1 / log2(rank + 1)``; in the ideal list the first ``min(k, relevant)``
    places are hits.

    Args:
        ranks: ``(U, M)``.
        relevant: ``(U,)`` how many relevant items each user has, at least 1.
        k: Length of the list.

    Returns:
        ``(U,)`` float64.
    """
    return _dcg(ranks, k) / _ideal_dcg(relevant, k)


def ndcg_of_hits(ranks: Tensor, k: int, list_length: int = LIST_LENGTH) -> Tensor:
    """NDCG against the best order of *the hits that were found*, as AutoTower's figures are.

    The ideal list has the hits among the first ``list_length`` items in its first places, so that
    relevant items which were not found do not count: larger than :func:`ndcg`, and comparable with
    figures that are computed in the same way only. Without a hit it is 0.

    Args:
        ranks: ``(U, M)``.
        k: Length of the list that is judged.
        list_length: Where hits are looked for; at least k.

    Returns:
        ``(U,)`` float64.
    """
    hits = (ranks <= list_length).sum(1)
    return _dcg(ranks, k) / _ideal_dcg(hits.clamp(min=1), k)


def reciprocal_rank(ranks: Tensor) -> Tensor:
    """``1 / rank`` of the best relevant item, 0 where none is ranked.

    Args:
        ranks: ``(U, M)``.

    Returns:
        ``(U,)`` float64.
    """
    best = ranks.amin(dim=1)
    return (1.0 / best.double()).masked_fill(best == MISSED, 0.0)


def _dcg(ranks: Tensor, k: int) -> Tensor:
    # Place by place: sums do not depend on the order in which items are given, nor on the padding.
    hits = torch.zeros(len(ranks), k + 1, dtype=torch.float64, device=ranks.device)
    hits.scatter_(1, ranks.clamp(max=k + 1) - 1, 1.0)  # the last column is for all later places
    return (hits[:, :k] * _gains(k, ranks.device)).sum(1)


def _ideal_dcg(hits: Tensor, k: int) -> Tensor:
    """``(U,)``: DCG of a list whose first ``min(hits, k)`` places are hits; hits at least 1."""
    return _gains(k, hits.device).cumsum(0)[hits.clamp(max=k) - 1]


def _gains(k: int, device: torch.device) -> Tensor:
    """``(k,)`` float64: what a hit at each place counts."""
    places = torch.arange(2, k + 2, device=device, dtype=torch.float64)
    return 1.0 / torch.log2(places)
