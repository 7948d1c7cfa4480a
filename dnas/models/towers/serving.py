"""Serving a two-tower model: the corpus as one matrix, and the best items for users in one call."""

from __future__ import annotations

from itertools import repeat

import torch
from torch import Tensor

from dnas.errors import ConfigError
from dnas.models.towers.two_tower import ItemTower

_ROWS = 1 << 16
#: Scores held at a time.
_MOST_SCORES = 1 << 26


@torch.no_grad()
def item_matrix(tower: ItemTower, fields: Tensor, bags: Tensor, rows: int = _ROWS) -> Tensor:
    """The vectors of a corpus, made once and kept beside the user tower.

    Args:
        tower: A trained model's ``item``; its mode is left as it is, so call ``eval()`` first.
        fields: ``(N, Fi)``; row j is item ``j + 1``.
        bags: ``(N, G)``.
        rows: Items computed at a time.

    Returns:
        ``(N, D)`` unit vectors.
    """
    parts = zip(fields.split(rows), bags.split(rows), strict=True)
    return torch.cat([tower(some_fields, some_bags) for some_fields, some_bags in parts])


@torch.no_grad()
def top_k(
    users: Tensor, items: Tensor, k: int, excluded: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k best items of each user, by exhaustive search.

    Args:
        users: ``(U, D)`` vectors of the user tower; ``(U, K, D)`` where a user has several, and the
            score of an item is the largest of theirs.
        items: ``(N, D)`` as of :func:`item_matrix`.
        k: How many, at most N.
        excluded: ``(U, X)`` item ids not to be shown, padded with 0.

    Returns:
        ``(U, k)`` item ids from 1, best first, and their scores. Where fewer than k items are left,
        the id is 0 and the score minus infinity.

    Raises:
        ConfigError: There are fewer than k items, or ``excluded`` is not of these users.
    """
    if excluded is not None and (excluded.dim() != 2 or len(excluded) != len(users)):
        raise ConfigError(
            f"top_k: excluded has the shape {tuple(excluded.shape)}, but there are {len(users)} "
            "users; give a row of item ids for each, padded with 0"
        )
    if not 1 <= k <= len(items):
        raise ConfigError(f"top_k: k={k}, but there are {len(items)} items")
    # So many users at a time that their scores fit: a corpus may have millions of items.
    per_user = (len(items) + 1) * (users.shape[1] if users.dim() == 3 else 1)
    rows = max(_MOST_SCORES // per_user, 1)
    hidden = repeat(None) if excluded is None else iter(excluded.split(rows))
    found = [_top_k(some, items, k, next(hidden)) for some in users.split(rows)]
    ids, scores = zip(*found, strict=True)
    return torch.cat(ids), torch.cat(scores)


def _top_k(users: Tensor, items: Tensor, k: int, excluded: Tensor | None) -> tuple[Tensor, Tensor]:
    padding = users.new_full((len(users), 1), -torch.inf)
    products = users @ items.T
    scores = products if products.dim() == 2 else products.amax(1)
    scores = torch.cat((padding, scores), dim=1)  # (U, N + 1), column i is item i
    if excluded is not None:
        scores.scatter_(1, excluded, -torch.inf)
    best = scores.topk(k, dim=1)
    return best.indices.masked_fill(best.values == -torch.inf, 0), best.values
