"""Random orders of the rows of an epoch.

Two of them. A *full* order is a uniform random permutation of all rows. A *window* order is for
data that may not be in memory, where single rows at random places would each cost a read of the
disk. For every epoch anew:

1. The rows are cut into chunks of :data:`CHUNK_ROWS` consecutive rows. Where the first cut is, is
   uniform over a chunk's length; the first and the last chunk are shorter.
2. All chunks are put into a uniform random order.
3. That sequence is cut into windows of W rows, and the rows of each window are put into a uniform
   random order.

So each row is equally likely to be at any place of an epoch (but for the two short chunks, in that
they are seldom cut by the end of a window), a window has rows from all over the data, and rows
within it are in no order. What differs from a full permutation is that rows of a chunk are nearly
always in the same window: two neighbours are at most W places apart, where a full permutation
would put them n/3 apart on average. A batch of B rows has about B * CHUNK_ROWS / W rows of each of
the W / CHUNK_ROWS chunks of its window. The cuts move, so that the neighbours that stay together
are other ones in each epoch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

#: Consecutive rows that are read together: 160 KB of a row of 39 features.
CHUNK_ROWS = 1024


class Order(Protocol):
    """Where the rows of each epoch come from."""

    def around(self, epoch: int, place: int) -> tuple[int, np.ndarray]:
        """A stretch of an epoch that has a place: its first place, and its rows.

        A function of the arguments; the stretches of an epoch do not overlap.
        """


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """A uniform random permutation of ``rows`` rows for one epoch.

    A function of the arguments alone (and of numpy's generator, which may change between versions
    of numpy). Takes 4 bytes a row, or 8 from 2**31 rows on.
    """
    order = np.arange(rows, dtype=np.int32 if rows <= 2**31 else np.int64)
    np.random.default_rng([seed, epoch]).shuffle(order)
    return order


class FullOrder:
    """A permutation of all rows, see :func:`epoch_order`; that of one epoch is kept."""

    def __init__(self, rows: int, seed: int) -> None:
        self._rows, self._seed = rows, seed
        self._current = -1, np.empty(0, dtype=np.int32)

    def around(self, epoch: int, place: int) -> tuple[int, np.ndarray]:
        kept, order = self._current
        if kept != epoch:
            order = epoch_order(self._rows, self._seed, epoch)
            self._current = epoch, order
        return 0, order


class WindowOrder:
    """Chunks in random order, and their rows in random order within windows, see the module.

    Keeps the numbers of the rows of one window, 8 bytes each, and of all chunks.

    Args:
        rows: Rows of an epoch.
        seed: Together with the epoch it determines the order.
        window: W, rows of a window.
        chunk: Rows of a chunk.
    """

    def __init__(self, rows: int, seed: int, window: int, chunk: int = CHUNK_ROWS) -> None:
        self.window = window
        self.windows = -(-rows // window)
        self._rows, self._seed = rows, seed
        self._chunk = min(chunk, rows)
        none = np.empty(0, dtype=np.int64)
        # One assignment each, so that two threads get in each other's way only in time.
        self._chunks = -1, none, none
        self._current = -1, -1, none

    def around(self, epoch: int, place: int) -> tuple[int, np.ndarray]:
        window = place // self.window
        *kept, order = self._current
        if kept != [epoch, window]:
            starts, lengths = self.pieces(epoch, window)
            before = np.cumsum(lengths) - lengths
            order = np.repeat(starts - before, lengths)
            order += np.arange(order.size)
            # Not [seed, epoch, 0], which numpy takes for [seed, epoch], the seed of the chunks.
            np.random.default_rng([self._seed, epoch, window + 1]).shuffle(order)
            self._current = epoch, window, order
        return window * self.window, order

    def pieces(self, epoch: int, window: int) -> tuple[np.ndarray, np.ndarray]:
        """First row and number of rows of each stretch of consecutive rows in a window."""
        chunk_starts, chunk_ends = self._chunks_of(epoch)
        first, last = window * self.window, min((window + 1) * self.window, self._rows)
        begin, end = np.searchsorted(chunk_ends, [first, last - 1], side="right")
        starts, ends = chunk_starts[begin : end + 1], chunk_ends[begin : end + 1]
        places = np.concatenate(([chunk_ends[begin - 1] if begin else 0], ends[:-1]))
        cut = np.maximum(first - places, 0)  # what the window before has had
        return starts + cut, np.minimum(ends, last) - places - cut

    def _chunks_of(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """First rows of the chunks in their order, and the place at which each ends."""
        kept, starts, ends = self._chunks
        if kept != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            cuts = np.arange(int(rng.integers(self._chunk)), self._rows, self._chunk)
            borders = np.concatenate(([0], cuts[cuts > 0], [self._rows]))
            order = rng.permutation(borders.size - 1)
            starts, ends = borders[:-1][order], np.cumsum(np.diff(borders)[order])
            self._chunks = epoch, starts, ends
        return starts, ends
