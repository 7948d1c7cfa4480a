"""A hash table of many integers that numbers them by first appearance."""

from __future__ import annotations

import numpy as np

from dnas.data.kernels import EMPTY, move_entries, number_keys

#: Keys that are looked up at a time.
CHUNK_KEYS = 4096
_NO_COUNTS = np.zeros(0, dtype=np.int64)


class KeyTable:
    """Keys from 0 to 2**32, the ends included, to 0, 1, 2... in order of first appearance.

    Open addressing, at most half full. Key and number share a 64-bit entry, so that a look-up waits
    for the memory once, and a key takes 16 to 32 bytes: Criteo has 1.2 billion of them.

    Attributes:
        size: Number of keys.
    """

    def __init__(self) -> None:
        self.size = 0
        self._found = np.empty(CHUNK_KEYS, dtype=np.uint64)
        self._allocate(10)

    def _allocate(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._entries = np.full(1 << bits, EMPTY, dtype=np.uint64)

    def number(
        self, keys: np.ndarray, numbers: np.ndarray, counts: np.ndarray | None = None
    ) -> None:
        """Number keys; new ones get the next numbers.

        Args:
            keys: ``(n,)`` uint64, at most ``CHUNK_KEYS``.
            numbers: ``(n,)`` int32, written.
            counts: How often each number was seen, raised; with room for n new ones.
        """
        if 2 * (self.size + keys.size) > self._entries.size:
            old = self._entries
            self._allocate((4 * (self.size + keys.size) - 1).bit_length())
            move_entries(old, self._entries, self._shift)
        self.size = number_keys(
            keys,
            self._entries,
            self._shift,
            self.size,
            self._found,
            numbers,
            _NO_COUNTS if counts is None else counts,
        )
