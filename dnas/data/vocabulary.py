"""Values of categorical columns to ids.

Three ways. A *vocabulary* numbers the values of a feature by first appearance, which needs memory
for every distinct value (about 16 to 32 bytes for an integer, 150 for text). A *hash* needs none:
``id = mix64(key) mod buckets``, where the key of an integer is the number itself, the key of a text
is the 8-byte BLAKE2b digest of its UTF-8 bytes as a little endian number, and ``mix64`` is the
output function of SplitMix64 [Steele2014]_. *modulo* is AutoCTR's rule, for integers only: in a
table of N rows a missing value is 0, any other ``key mod (N - 1) + 1``; each feature has its own N.
Nothing about hash and modulo depends on the process, the platform or the order of the rows. Each
feature has ids of its own: no id is ever reduced by another feature's count.

.. [Steele2014] Steele, Lea, Flood: Fast splittable pseudorandom number generators. OOPSLA 2014.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import polars as pl

from dnas.data.kernels import hash_keys, modulo_keys
from dnas.data.key_table import CHUNK_KEYS, KeyTable
from dnas.data.keys import text_key
from dnas.data.layout import IdRule

#: Categorical columns as parsed: ``(rows, F)`` uint64 keys up to ``MISSING_KEY``, or int32 ids that
#: were hashed already, or F columns of ``rows`` strings without null.
Columns = np.ndarray | list[pl.Series]


class Encoder(Protocol):
    """Ids of all features, fed block by block."""

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of ids of each feature, final after the last block and :meth:`remap`."""

    def encode(self, columns: Columns) -> np.ndarray:
        """``(rows, F)`` int32 ids of a block."""

    def remap(self) -> list[np.ndarray] | None:
        """After the last block: for each feature the new id of each id so far; None: they stay."""


class HashEncoder:
    """Ids by a fixed hash, see the module.

    Args:
        buckets: Number of ids of each feature.
        features: F.
    """

    def __init__(self, buckets: int, features: int) -> None:
        self.cardinalities = (buckets,) * features
        self._buckets = buckets

    def encode(self, columns: Columns) -> np.ndarray:
        if isinstance(columns, np.ndarray):
            return columns if columns.dtype == np.int32 else hash_ids(columns, self._buckets)
        ids = np.empty((len(columns[0]), len(columns)), dtype=np.int32)
        for feature, column in enumerate(columns):
            texts, index = _distinct(column)
            keys = np.fromiter((text_key(text) for text in texts), np.uint64, count=len(texts))
            ids[:, feature] = hash_ids(keys, self._buckets)[index]
        return ids

    def remap(self) -> list[np.ndarray] | None:
        return None


class ModuloEncoder:
    """Ids by AutoCTR's rule, see the module.

    Args:
        sizes: Rows of each feature's table, at least 2.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.cardinalities = sizes
        self._sizes = np.array(sizes, dtype=np.uint64)

    def encode(self, columns: Columns) -> np.ndarray:
        assert isinstance(columns, np.ndarray)
        assert columns.dtype == np.uint64
        ids = np.empty(columns.shape, dtype=np.int32)
        modulo_keys(columns, self._sizes, ids)
        return ids

    def remap(self) -> list[np.ndarray] | None:
        return None


class VocabularyEncoder:
    """Ids by first appearance, for each feature apart.

    With ``min_count`` above 1 the values seen fewer times share id 0, and the others are numbered
    from 1, still by first appearance. That is known after the last block only, hence
    :meth:`remap`.

    Args:
        min_count: Times a value must be seen to have an id of its own.
        features: F.
    """

    def __init__(self, min_count: int, features: int) -> None:
        self._min_count = min_count
        self._features = [_Vocabulary(min_count > 1) for _ in range(features)]

    @property
    def cardinalities(self) -> tuple[int, ...]:
        return tuple(feature.cardinality for feature in self._features)

    def encode(self, columns: Columns) -> np.ndarray:
        rows = len(columns) if isinstance(columns, np.ndarray) else len(columns[0])
        ids = np.empty((rows, len(self._features)), dtype=np.int32)
        if not isinstance(columns, np.ndarray):
            for feature, column in enumerate(columns):
                ids[:, feature] = self._features[feature].encode_texts(column)
            return ids
        for start in range(0, rows, CHUNK_KEYS):
            part = slice(start, start + CHUNK_KEYS)
            for feature, vocabulary in enumerate(self._features):
                vocabulary.encode_keys(columns[part, feature], ids[part, feature])
        return ids

    def remap(self) -> list[np.ndarray] | None:
        if self._min_count == 1:
            return None
        return [feature.remap(self._min_count) for feature in self._features]


class _Vocabulary:
    """The values of one feature.

    Args:
        counted: Whether to count how often each value is seen.
    """

    def __init__(self, counted: bool) -> None:
        self._keys = KeyTable()
        self._texts: dict[str, int] = {}
        self._counts = np.zeros(0, dtype=np.int64) if counted else None
        self._kept: int | None = None

    @property
    def cardinality(self) -> int:
        if self._kept is not None:
            return self._kept
        return max(len(self._texts), self._keys.size, 1)

    def encode_keys(self, keys: np.ndarray, ids: np.ndarray) -> None:
        """Write the ids of at most ``CHUNK_KEYS`` uint64 keys to int32 ``ids``."""
        if self._counts is not None:
            self._make_room(self._keys.size + keys.size)
        self._keys.number(keys, ids, self._counts)

    def encode_texts(self, column: pl.Series) -> np.ndarray:
        """``(rows,)`` int64 ids of texts."""
        # Most values come more than once in a block: each is looked up once.
        texts, index = _distinct(column)
        known = self._texts
        distinct = (known.setdefault(text, len(known)) for text in texts)
        numbers = np.fromiter(distinct, np.int64, count=len(texts))
        if self._counts is not None:
            self._make_room(len(known))
            self._counts[numbers] += np.bincount(index, minlength=numbers.size)
        return numbers.take(index)

    def remap(self, min_count: int) -> np.ndarray:
        """The new id of each id: 0 for values seen fewer than ``min_count`` times."""
        assert self._counts is not None
        kept = self._counts[: self.cardinality] >= min_count
        self._kept = int(kept.sum()) + 1
        return np.where(kept, np.cumsum(kept), 0).astype(np.int32)

    def _make_room(self, values: int) -> None:
        assert self._counts is not None
        if self._counts.size < values:
            grown = np.zeros(2 * values, dtype=np.int64)
            grown[: self._counts.size] = self._counts
            self._counts = grown


def make_encoder(rule: IdRule, features: int) -> Encoder:
    """A new encoder for so many features."""
    if rule.kind == "hash":
        return HashEncoder(rule.buckets, features)
    if rule.kind == "modulo":
        assert len(rule.sizes) == features
        return ModuloEncoder(rule.sizes)
    return VocabularyEncoder(rule.min_count, features)


def hash_ids(keys: np.ndarray, buckets: int) -> np.ndarray:
    """int32 ``mix64(key) mod buckets`` of uint64 keys, any shape."""
    ids = np.empty(keys.shape, dtype=np.int32)
    hash_keys(np.ascontiguousarray(keys).reshape(-1), np.uint64(buckets), ids.reshape(-1))
    return ids


def _distinct(column: pl.Series) -> tuple[list[str], np.ndarray]:
    """The distinct texts of a column in order of appearance, and the index of each row in them."""
    encoded = column.to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)
