"""Values of categorical columns to ids.

Two ways. A *vocabulary* numbers the values of a feature by first appearance, which needs memory for
every distinct value (about 24 to 48 bytes for a hexadecimal one, 150 for text). A *hash* needs
none: ``id = mix64(key) mod buckets``, where the key of a hexadecimal value is the number itself,
the key of a text is the 8-byte BLAKE2b digest of its UTF-8 bytes as a little endian number, and
``mix64`` is the output function of SplitMix64 [Steele2014]_. Nothing depends on the process, the
platform or the order of the rows. Each feature has ids of its own: no id is ever reduced by another
feature's count.

.. [Steele2014] Steele, Lea, Flood: Fast splittable pseudorandom number generators. OOPSLA 2014.
"""

from __future__ import annotations

import hashlib
from typing import Protocol

import numpy as np
import polars as pl

from dnas.data.layout import IdRule

#: Key of a missing hexadecimal value: one above the largest 32-bit number.
MISSING_KEY = 1 << 32
#: Text of a missing value.
MISSING_TEXT = ""

_EMPTY = np.uint64(2**64 - 1)

#: A categorical column as parsed: ``(rows,)`` uint64 keys below 2**64 - 1, or strings without null.
Column = np.ndarray | pl.Series


def mix64(keys: np.ndarray) -> np.ndarray:
    """SplitMix64's output function: ``(n,)`` uint64 to ``(n,)`` uint64, one to one."""
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def text_key(text: str) -> int:
    """The 64-bit key of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


class Encoder(Protocol):
    """Ids of one feature, fed block by block."""

    @property
    def cardinality(self) -> int:
        """Number of ids, final after the last block and :meth:`remap`."""

    def encode(self, column: Column) -> np.ndarray:
        """``(rows,)`` int32 ids of a block."""

    def remap(self) -> np.ndarray | None:
        """After the last block: new id of each id so far, or None when they stay."""


class HashEncoder:
    """Ids by a fixed hash, see the module.

    Args:
        buckets: Number of ids.
    """

    def __init__(self, buckets: int) -> None:
        self.cardinality = buckets

    def encode(self, column: Column) -> np.ndarray:
        if isinstance(column, np.ndarray):
            return self._buckets(column)
        texts, index = _distinct(column)
        keys = np.fromiter((text_key(text) for text in texts), np.uint64, count=len(texts))
        return self._buckets(keys)[index]

    def remap(self) -> np.ndarray | None:
        return None

    def _buckets(self, keys: np.ndarray) -> np.ndarray:
        return (mix64(keys) % np.uint64(self.cardinality)).astype(np.int32)


class VocabularyEncoder:
    """Ids by first appearance.

    With ``min_count`` above 1 the values seen fewer times share id 0, and the others are numbered
    from 1, still by first appearance. That is known after the last block only, hence
    :meth:`remap`.

    Args:
        min_count: Times a value must be seen to have an id of its own.
    """

    def __init__(self, min_count: int = 1) -> None:
        self._min_count = min_count
        self._keys = _KeyTable()
        self._texts: dict[str, int] = {}
        self._counts = np.zeros(0, dtype=np.int64)
        self._kept: int | None = None

    @property
    def cardinality(self) -> int:
        if self._kept is not None:
            return self._kept
        return max(len(self._texts), self._keys.size, 1)

    def encode(self, column: Column) -> np.ndarray:
        if isinstance(column, np.ndarray):
            ids = self._keys.encode(column)
        else:
            texts, index = _distinct(column)
            known = self._texts
            distinct = (known.setdefault(text, len(known)) for text in texts)
            ids = np.fromiter(distinct, np.int32, count=len(texts))[index]
        if self._min_count > 1:
            self._count(ids)
        return ids

    def remap(self) -> np.ndarray | None:
        if self._min_count == 1:
            return None
        kept = self._counts[: self.cardinality] >= self._min_count
        self._kept = int(kept.sum()) + 1
        return np.where(kept, np.cumsum(kept), 0).astype(np.int32)

    def _count(self, ids: np.ndarray) -> None:
        if self._counts.size < self.cardinality:
            grown = np.zeros(2 * self.cardinality, dtype=np.int64)
            grown[: self._counts.size] = self._counts
            self._counts = grown
        np.add.at(self._counts, ids, 1)


def make_encoder(rule: IdRule) -> Encoder:
    """A new encoder for one feature."""
    if rule.kind == "hash":
        return HashEncoder(rule.buckets)
    return VocabularyEncoder(rule.min_count)


def _distinct(column: pl.Series) -> tuple[list[str], np.ndarray]:
    """The distinct texts of a column in order of appearance, and the index of each row in them."""
    encoded = column.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


class _KeyTable:
    """An open-addressing hash table from uint64 keys to 0, 1, 2... in order of first appearance.

    Every operation is vectorised over a block of keys: a Python dictionary would take a second for
    each million values, and Criteo has 1.2 billion of them.
    """

    def __init__(self) -> None:
        self.size = 0
        self._allocate(1 << 10)

    def _allocate(self, capacity: int) -> None:
        self._mask = np.uint64(capacity - 1)
        self._table = np.full(capacity, _EMPTY, dtype=np.uint64)
        self._values = np.zeros(capacity, dtype=np.int32)

    def encode(self, keys: np.ndarray) -> np.ndarray:
        """``(n,)`` int32 numbers of ``(n,)`` uint64 keys; new keys get the next numbers."""
        numbers = self._find(keys)
        unknown = np.flatnonzero(numbers < 0)
        if unknown.size:
            distinct, first, inverse = np.unique(
                keys[unknown], return_index=True, return_inverse=True
            )
            order = np.argsort(first)
            rank = np.empty_like(order)
            rank[order] = np.arange(order.size)
            values = (self.size + rank).astype(np.int32)
            self._insert(distinct, values)
            numbers[unknown] = values[inverse]
        return numbers

    def _find(self, keys: np.ndarray) -> np.ndarray:
        slots = mix64(keys) & self._mask
        found = self._table[slots]
        numbers = np.where(found == keys, self._values[slots], np.int32(-1))
        open_rows = np.flatnonzero((found != keys) & (found != _EMPTY))
        slots = slots[open_rows]
        while open_rows.size:
            slots = (slots + np.uint64(1)) & self._mask
            wanted, found = keys[open_rows], self._table[slots]
            hit = found == wanted
            numbers[open_rows[hit]] = self._values[slots[hit]]
            on = ~hit & (found != _EMPTY)
            open_rows, slots = open_rows[on], slots[on]
        return numbers

    def _insert(self, keys: np.ndarray, values: np.ndarray) -> None:
        """Put distinct keys that are not there."""
        self.size += keys.size
        if 2 * self.size > self._table.size:
            old = self._table != _EMPTY
            keys = np.concatenate((self._table[old], keys))
            values = np.concatenate((self._values[old], values))
            self._allocate(1 << (4 * self.size - 1).bit_length())
        slots = mix64(keys) & self._mask
        while keys.size:
            free = self._table[slots] == _EMPTY
            # Several keys may want one slot: the last one written has it, the others move on.
            self._table[slots[free]] = keys[free]
            won = self._table[slots] == keys
            self._values[slots[won]] = values[won]
            keys, values = keys[~won], values[~won]
            slots = (slots[~won] + np.uint64(1)) & self._mask
