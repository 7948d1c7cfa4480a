"""Keys: the 64-bit numbers that stand for values of categorical columns."""

from __future__ import annotations

import hashlib

#: Key of a missing hexadecimal value: one above the largest 32-bit number.
MISSING_KEY = 1 << 32
#: Text of a missing value.
MISSING_TEXT = ""


def text_key(text: str) -> int:
    """The 64-bit key of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
