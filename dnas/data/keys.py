"""Keys: the 64-bit numbers that stand for values of categorical columns, and their hash."""

from __future__ import annotations

import hashlib

import numpy as np

#: Key of a missing hexadecimal value: one above the largest 32-bit number.
MISSING_KEY = 1 << 32
#: Text of a missing value.
MISSING_TEXT = ""

#: Rows that are worked on at a time: what is made of them stays in the cache of a core.
_CHUNK_ROWS = 2048


def mix64(keys: np.ndarray) -> np.ndarray:
    """SplitMix64's output function: uint64 to uint64 of the same shape, one to one."""
    z = keys + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def text_key(text: str) -> int:
    """The 64-bit key of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_ids(keys: np.ndarray, buckets: int) -> np.ndarray:
    """int32 ``mix64(key) mod buckets`` of uint64 keys, any shape."""
    ids = np.empty(keys.shape, dtype=np.int32)
    divisor = np.uint64(buckets)
    for start in range(0, len(keys), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        ids[part] = mix64(keys[part]) % divisor
    return ids
