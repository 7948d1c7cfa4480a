"""A hash table of many integers that numbers them by first appearance."""

from __future__ import annotations

import numpy as np

_EMPTY = np.uint64(2**64 - 1)
#: Bits of a number; the other 33 bits of an entry are the key.
_NUMBER_BITS = np.uint64(31)
_NUMBER = np.uint64(2**31 - 1)
#: The golden ratio of 2**64: multiples of it spread evenly over the upper bits.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


class KeyTable:
    """Keys from 0 to 2**32, the ends included, to 0, 1, 2... in order of first appearance.

    Open addressing, at most half full. Key and number share a 64-bit entry, so that a look-up waits
    for the memory once, and a key takes 16 to 32 bytes. Every operation is vectorised over a block
    of keys: a Python dictionary would take a second for each million values, and Criteo has 1.2
    billion of them.

    Attributes:
        size: Number of keys.
    """

    def __init__(self) -> None:
        self.size = 0
        self._allocate(10)

    def _allocate(self, bits: int) -> None:
        self._shift = np.uint64(64 - bits)
        self._mask = np.int64((1 << bits) - 1)
        self._entries = np.full(1 << bits, _EMPTY, dtype=np.uint64)

    def number(self, keys: np.ndarray) -> np.ndarray:
        """``(n,)`` int64 numbers of ``(n,)`` uint64 keys, all different; new ones get the next."""
        numbers = self._find(keys)
        unknown = np.flatnonzero(numbers < 0)
        if unknown.size:
            new = np.arange(self.size, self.size + unknown.size)
            numbers[unknown] = new
            self._insert((keys[unknown] << _NUMBER_BITS) | new.astype(np.uint64))
        return numbers

    def _slots(self, keys: np.ndarray) -> np.ndarray:
        slots = keys * _SPREAD
        slots >>= self._shift
        return slots.view(np.int64)

    def _find(self, keys: np.ndarray) -> np.ndarray:
        """The numbers of keys; -1 for those that are not there."""
        slots = self._slots(keys)
        found = self._entries.take(slots)
        hit = (found >> _NUMBER_BITS) == keys
        numbers = np.where(hit, (found & _NUMBER).view(np.int64), -1)
        going_on = np.flatnonzero(~hit & (found != _EMPTY))
        slots, keys = slots[going_on], keys[going_on]
        while going_on.size:
            slots = (slots + 1) & self._mask
            found = self._entries.take(slots)
            hit = (found >> _NUMBER_BITS) == keys
            numbers[going_on[hit]] = (found[hit] & _NUMBER).view(np.int64)
            on = ~hit & (found != _EMPTY)
            going_on, slots, keys = going_on[on], slots[on], keys[on]
        return numbers

    def _insert(self, entries: np.ndarray) -> None:
        """Put entries whose keys are not there."""
        self.size += entries.size
        if 2 * self.size > self._entries.size:
            entries = np.concatenate((self._entries[self._entries != _EMPTY], entries))
            self._allocate((4 * self.size - 1).bit_length())
        slots = self._slots(entries >> _NUMBER_BITS)
        while entries.size:
            free = self._entries[slots] == _EMPTY
            # Several may want one slot: the last one written has it, the others move on.
            self._entries[slots[free]] = entries[free]
            lost = self._entries[slots] != entries
            entries = entries[lost]
            slots = (slots[lost] + 1) & self._mask
