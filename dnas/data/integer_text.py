"""Short integers in text, read by whole arrays at once.

A field of up to 8 characters fits in one 64-bit word, and the sums and products of such words work
on all 8 characters at the same time, as in [Mula2014]_. The word of a field holds the 8 bytes
*before its end*, so that the last digit is always in the same place; what stands before the field
is replaced by the digit 0.

Only what is plainly written is read: digits, and for decimal numbers a minus sign. Everything else,
wrong or merely unusual (``+5``, ``1e3``, nine digits), is for a reader that takes its time.

.. [Mula2014] Mula: SIMD-ized parsing of integers. 0x80.pl/articles/simd-parsing-int-sequences.html
"""

from __future__ import annotations

import numpy as np

#: Characters of the longest field that is read.
WORD = 8


def _each(byte: int) -> np.uint64:
    """A word with this value in each byte."""
    return np.uint64(byte * 0x0101010101010101)


_ALL, _ONE, _HIGH, _NIBBLE = _each(0xFF), _each(0x01), _each(0x80), _each(0x0F)
_ZEROS = _each(ord("0"))
# Added to a character below 128, these set the highest bit of its byte from a certain one on.
_FROM_0, _ABOVE_9 = _each(0x80 - ord("0")), _each(0x80 - ord("9") - 1)
_FROM_A, _ABOVE_F = _each(0x80 - ord("a")), _each(0x80 - ord("f") - 1)
_LOWER_CASE = _each(0x20)
_PAIRS, _QUADS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)


def words_before(data: bytes, ends: np.ndarray) -> np.ndarray:
    """The 8 bytes before each position, the last one in the highest byte.

    Args:
        data: At least 8 bytes.
        ends: ``(n,)`` ascending positions. Before the start of ``data`` there are zeros.

    Returns:
        ``(n,)`` uint64.
    """
    words = np.ndarray((len(data) - WORD + 1,), "<u8", data, strides=(1,))
    if not ends.size or ends[0] >= WORD:
        return words[ends - WORD]
    near = int(np.searchsorted(ends, WORD))
    head = np.ndarray((WORD,), "<u8", bytes(WORD) + data[:WORD], strides=(1,))
    return np.concatenate((head[ends[:near]], words[ends[near:] - WORD]))


def read_decimal(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Decimal numbers.

    Args:
        words: Words of ASCII fields, see :func:`words_before`; any shape.
        lengths: int64 characters of each field, same shape; an empty one reads as 0.

    Returns:
        int64 values, and where the field is a plain number of at most 8 characters.
    """
    words, bits = _fill(words, lengths)
    is_digit = _digits(words)
    plain = is_digit == _HIGH
    plain &= lengths <= WORD
    negative = np.flatnonzero(~plain & (lengths > 1) & (lengths <= WORD))
    if negative.size:  # a minus sign, perhaps: few enough to be looked at apart
        flat, shift = words.reshape(-1), np.uint64(64) - bits.reshape(-1)[negative]
        signed = (flat[negative] >> shift) & np.uint64(0xFF) == np.uint64(ord("-"))
        negative, shift = negative[signed], shift[signed]
        flat[negative] ^= np.uint64(ord("-") ^ ord("0")) << shift
        plain.reshape(-1)[negative] = _digits(flat[negative]) == _HIGH
    words &= _NIBBLE
    words *= np.uint64(0x0A01)  # byte 2i + 1 becomes 10 times byte 2i, plus itself
    words >>= np.uint64(8)
    words &= _PAIRS
    words *= np.uint64(0x640001)
    words >>= np.uint64(16)
    words &= _QUADS
    words *= np.uint64(0x271000000001)
    words >>= np.uint64(32)
    values = words.view(np.int64)
    if negative.size:
        flat_values = values.reshape(-1)
        plain.reshape(-1)[negative] &= flat_values[negative] != 0  # -0 is another number than 0
        flat_values[negative] *= -1
    return values, plain


def read_hexadecimal(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As :func:`read_decimal` for hexadecimal numbers without sign; the values are uint64."""
    words, _ = _fill(words, lengths)
    lower = words | _LOWER_CASE
    letters = lower + _FROM_A
    lower += _ABOVE_F
    letters ^= lower
    letters |= _digits(words)
    letters &= _HIGH
    plain = letters == _HIGH
    plain &= lengths <= WORD
    letters = words >> np.uint64(6)
    letters &= _ONE
    letters *= np.uint64(9)
    words &= _NIBBLE
    words += letters
    words *= np.uint64(0x1001)
    words >>= np.uint64(8)
    words &= _PAIRS
    words *= np.uint64(0x1000001)
    words >>= np.uint64(16)
    words &= _QUADS
    words *= np.uint64(0x1000000000001)
    words >>= np.uint64(32)
    return words, plain


def _fill(words: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The words with zeros before the fields, and the bits of each field."""
    bits = lengths.astype(np.uint64)
    bits <<= np.uint64(3)
    # numpy defines shifts by 64 and more, unlike C: nothing is left.
    outside = _ALL >> bits
    filled = words ^ _ZEROS
    outside &= filled
    np.bitwise_xor(words, outside, out=filled)
    return filled, bits


def _digits(words: np.ndarray) -> np.ndarray:
    """Words with the highest bit of each byte that is a decimal digit."""
    found = words + _FROM_0
    found ^= words + _ABOVE_9
    found &= _HIGH
    return found
