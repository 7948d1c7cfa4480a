"""Positions of a timeline, or users, to the inputs of a two-tower model."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.timeline import Timeline, Windows


class Rows:
    """Gathers the inputs of batches; everything is in memory.

    Args:
        data: For the fields.
        timeline: For the histories.
    """

    def __init__(self, data: Interactions, timeline: Timeline) -> None:
        self.timeline = timeline
        self._windows = Windows(timeline.items, data.spec.seq_len)
        self.num_items = data.spec.num_items
        self._user_fields = data.user_fields.astype(np.int64)
        self._item_fields = data.item_fields.astype(np.int64)
        self._item_bags = data.item_bags.astype(np.int64)
        self._history_fields = data.history_fields()

    def items(self, positions: np.ndarray) -> np.ndarray:
        """``(n,)`` int32: the item of each position."""
        return self.timeline.items.take(positions)

    def pairs(self, positions: np.ndarray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Inputs of a loss batch: each position's user, history, and item."""
        users = self.timeline.users.take(positions)
        items = self.items(positions)
        return (
            *self.users(users, self._windows.take(self.timeline.starts.take(users), positions)),
            torch.from_numpy(self._item_fields.take(items, axis=0)),
            torch.from_numpy(self._item_bags.take(items, axis=0)),
        )

    def users(self, users: np.ndarray, histories: np.ndarray) -> tuple[Tensor, Tensor]:
        """User fields ``(U, Fu)`` and histories ``(U, L, Fh)``, from ids and ``(U, L)`` items."""
        return (
            torch.from_numpy(self._user_fields.take(users, axis=0)),
            # With another type of numbers this takes three times as long.
            torch.from_numpy(self._history_fields.take(histories.astype(np.intp), axis=0)),
        )

    def corpus(self) -> tuple[Tensor, Tensor]:
        """Fields ``(N, Fi)`` and bags ``(N, G)`` of all items: row j is item j + 1.

        The tensors share the memory of this object.
        """
        return torch.from_numpy(self._item_fields[1:]), torch.from_numpy(self._item_bags[1:])
