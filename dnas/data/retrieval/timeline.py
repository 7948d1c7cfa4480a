"""Interactions in the order of their users' lives, and histories cut from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from dnas.data.retrieval.interactions import Interactions


@dataclass(frozen=True)
class Timeline:
    """Rows sorted by user, then by time; **rows with equal user and time stay as in the raw file**.

    Three quarters of MovieLens' rows share user and time with another one, so that the order of
    ties matters. (The released code leaves it to an unstable sort.) A *position* is a row's number
    in this order; splits, histories and loaders speak of positions.

    Attributes:
        users: ``(rows,)`` int32, ascending.
        items: ``(rows,)`` int32.
        starts: ``(users + 2,)`` int64; user u has the positions ``starts[u] .. starts[u + 1] - 1``.
            There is an entry for the padding, user 0, which has none.
    """

    users: np.ndarray
    items: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, data: Interactions) -> Timeline:
        """The timeline of a data set."""
        order = stable_order(data.times)
        order = order[stable_order(data.users[order])]
        users = data.users[order]
        starts = np.searchsorted(users, np.arange(data.spec.num_users + 2))
        return cls(users, data.items[order], starts.astype(np.int64))

    def __len__(self) -> int:
        return len(self.items)

    def counts(self) -> np.ndarray:
        """``(users + 1,)``: interactions of each user."""
        return np.diff(self.starts)

    def histories(self, positions: np.ndarray, length: int) -> np.ndarray:
        """Items of the same user just before each position: ``(len(positions), length)`` int32."""
        return Windows(self.items, length).take(self.starts[self.users[positions]], positions)


def stable_order(values: np.ndarray) -> np.ndarray:
    """``np.argsort(values, kind="stable")`` of integers, several times as fast for many.

    Value and place share a number, where both fit into 63 bits: sorting numbers is much faster than
    sorting places by them, and no two are equal.
    """
    bits = max(len(values) - 1, 1).bit_length()
    low = int(values.min(initial=0))
    if (int(values.max(initial=0)) - low).bit_length() + bits > 63:
        return np.argsort(values, kind="stable")
    keys = values.astype(np.int64) - low
    keys <<= bits
    keys |= np.arange(len(values))
    keys.sort()
    keys &= (1 << bits) - 1
    return keys


class Windows:
    """Cuts ends of stretches out of an array, all of one length.

    Args:
        items: ``(rows,)``; a copy of it is kept.
        length: L.
    """

    def __init__(self, items: np.ndarray, length: int) -> None:
        padded = np.concatenate([np.zeros(length, items.dtype), items])
        self._views = sliding_window_view(padded, length)  # row e ends before items[e]
        self._places = np.arange(-length, 0)

    def take(self, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """The last L of ``items[start:end]``, padded on the left with 0: ``(n, L)``.

        Args:
            starts: ``(n,)`` first place of each stretch.
            ends: ``(n,)`` the place after its last one.
        """
        found = self._views[ends]  # a copy
        found *= self._places >= (starts - ends)[:, None]
        return found
