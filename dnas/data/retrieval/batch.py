"""Batches of a two-tower model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TowerBatch:
    """U users and N items.

    In a loss batch U = N = B and item i is the positive of user i. In a ranking batch the items are
    the whole corpus, and row j has item j + 1. There is no ``rows``: the rows of a loss batch are
    each other's negatives, so that training with several processes is refused.

    Attributes:
        inputs: User fields ``(U, Fu)``, history ``(U, L, Fh)``, item fields ``(N, Fi)`` and item
            bags ``(N, G)``, all int64. A history ends with the latest item and is padded on the
            left: where the item's id is 0, so are the other fields. Bags are padded with
            ``spec.bag_size``; G is 0 where items have no multi-hot field.
        labels: See :mod:`dnas.data.retrieval.relevance`.
    """

    inputs: tuple[Tensor, Tensor, Tensor, Tensor]
    labels: Tensor

    def to(self, device: torch.device | str) -> TowerBatch:
        """The same batch on ``device``."""
        users, history, items, bags = (part.to(device, non_blocking=True) for part in self.inputs)
        return TowerBatch((users, history, items, bags), self.labels.to(device, non_blocking=True))
