"""Compiled loops: rows of plain integers, long integers, ids by hash, modulo or first appearance.

Fields of up to 8 characters fit in one 64-bit word, and sums and products of such words work on all
8 characters at the same time, as in [Mula2014]_. Where a field ends is found in the same way. So
a row has few branches that depend on its text, which is what a loop over characters spends its time
on: it mispredicts most of them.

All loops are compiled when they are first called, by Numba, and kept in its cache. They run without
the interpreter's lock. They are in one module because Numba notices changes of a cached function in
its own file only.

.. [Mula2014] Mula: SIMD-ized parsing of integers. 0x80.pl/articles/simd-parsing-int-sequences.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from dnas.data.keys import MISSING_KEY

#: Bytes that must be readable behind the last row.
PADDING = 16
#: What an unused entry of a table of keys is.
EMPTY = np.uint64(2**64 - 1)
#: Bits of a number in an entry; the other 33 bits are the key.
NUMBER_BITS = np.uint64(31)

_NEWLINE, _RETURN, _MINUS = 10, 13, np.uint64(ord("-"))
_ONE, _HIGH = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
_ZEROS, _LOWER_CASE = _ONE * np.uint64(ord("0")), _ONE * np.uint64(0x20)
_MINUS_AS_ZERO = np.uint64(ord("-") ^ ord("0"))
# Added to a byte below 128, these set its highest bit from a certain value on.
_ABOVE_NINE = _ONE * np.uint64(0x80 - 10)
_FROM_0, _ABOVE_9 = _ONE * np.uint64(0x80 - ord("0")), _ONE * np.uint64(0x80 - ord("9") - 1)
_FROM_A, _ABOVE_F = _ONE * np.uint64(0x80 - ord("a")), _ONE * np.uint64(0x80 - ord("f") - 1)
_NIBBLES = _ONE * np.uint64(0x0F)
_PAIRS, _QUADS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_U0, _U1, _U6, _U8, _U9, _U16, _U32 = (np.uint64(n) for n in (0, 1, 6, 8, 9, 16, 32))
_U27, _U30, _U31, _U56, _U64, _BYTE = (np.uint64(n) for n in (27, 30, 31, 56, 64, 255))
_DECIMAL = tuple(np.uint64(n) for n in (0x0A01, 0x640001, 0x271000000001))
_HEXADECIMAL = tuple(np.uint64(n) for n in (0x1001, 0x1000001, 0x1000000000001))
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_MISSING = np.uint64(MISSING_KEY)
_NUMBER = np.uint64(2**31 - 1)
_RESIDUES = 2**31 - 1


def compiled(function: Callable[..., Any]) -> Any:
    """A function compiled when it is first called, without the interpreter's lock."""
    try:
        return njit(cache=True, nogil=True, boundscheck=False)(function)
    except RuntimeError:  # there is no folder that the machine code could be kept in
        return njit(nogil=True, boundscheck=False)(function)


@compiled
def count_lines(data, used):  # type: ignore[no-untyped-def]
    """Line feeds in the first ``used`` bytes."""
    count = 0
    for i in range(used):
        count += data[i] == _NEWLINE
    return count


@compiled
def mix64(key):  # type: ignore[no-untyped-def]
    """SplitMix64's output function: uint64 to uint64, one to one."""
    z = key + _GOLDEN
    z = (z ^ (z >> _U30)) * _MIX_1
    z = (z ^ (z >> _U27)) * _MIX_2
    return z ^ (z >> _U31)


@compiled
def hash_keys(keys, buckets, ids):  # type: ignore[no-untyped-def]
    """``mix64(key) mod buckets`` of uint64 keys into int32 ids, both of one dimension."""
    for i in range(keys.size):
        ids[i] = np.int32(mix64(keys[i]) % buckets)


@compiled
def modulo_keys(keys, sizes, ids):  # type: ignore[no-untyped-def]
    """0 for a missing key, else ``key mod (size - 1) + 1``.

    Args:
        keys: ``(rows, F)`` uint64.
        sizes: ``(F,)`` uint64, at least 2.
        ids: ``(rows, F)`` int32, written.
    """
    for row in range(keys.shape[0]):
        for feature in range(keys.shape[1]):
            key = keys[row, feature]
            if key == _MISSING:
                ids[row, feature] = 0
            else:
                ids[row, feature] = np.int32(key % (sizes[feature] - _U1) + _U1)


@compiled
def residue_keys(data, offsets, keys):  # type: ignore[no-untyped-def]
    """Integers of any length modulo ``2**31 - 1``: decimal if all are digits, else hexadecimal.

    A minus may be in front; the residue of a negative number is positive.

    Args:
        data: uint8 text.
        offsets: ``(n + 1,)`` int64; text i is ``data[offsets[i]:offsets[i + 1]]``.
        keys: ``(n,)`` uint64, written; ``MISSING_KEY`` for what is empty or no such integer.
    """
    for i in range(keys.size):
        start, stop = offsets[i], offsets[i + 1]
        negative = start < stop and data[start] == 45
        if negative:
            start += 1
        good = start < stop
        is_decimal = True
        decimal = hexadecimal = np.int64(0)
        for place in range(start, stop):
            digit = np.int64(data[place]) - 48
            if digit < 0 or digit > 9:
                is_decimal = False
                digit = (np.int64(data[place]) | 32) - 87
                if digit < 10 or digit > 15:
                    good = False
                    break
            decimal = (decimal * 10 + digit) % _RESIDUES
            hexadecimal = (hexadecimal * 16 + digit) % _RESIDUES
        residue = decimal if is_decimal else hexadecimal
        if negative:
            residue = (_RESIDUES - residue) % _RESIDUES
        keys[i] = np.uint64(residue) if good else _MISSING


@compiled
def _read_decimal(digits):  # type: ignore[no-untyped-def]
    """8 digits, the last one in the highest byte, each its value."""
    # Byte 2i + 1 becomes 10 times byte 2i, plus itself; and so on with pairs and quads.
    digits = ((digits * _DECIMAL[0]) >> _U8) & _PAIRS
    digits = ((digits * _DECIMAL[1]) >> _U16) & _QUADS
    return (digits * _DECIMAL[2]) >> _U32


@compiled
def _read_hexadecimal(word):  # type: ignore[no-untyped-def]
    """8 characters, the last one in the highest byte: their number, and whether they are one."""
    lower = word | _LOWER_CASE
    letters = (lower + _FROM_A) ^ (lower + _ABOVE_F)
    digits = (word + _FROM_0) ^ (word + _ABOVE_9)
    plain = ((letters | digits) & ~word & _HIGH) == _HIGH
    value = (word & _NIBBLES) + ((word >> _U6) & _ONE) * _U9
    value = ((value * _HEXADECIMAL[0]) >> _U8) & _PAIRS
    value = ((value * _HEXADECIMAL[1]) >> _U16) & _QUADS
    return (value * _HEXADECIMAL[2]) >> _U32, plain


@compiled
def read_rows(  # type: ignore[no-untyped-def]
    data, words, used, separator, table, lowest, buckets,
    labels, dense, keys, ids, plain, ends, far_places, far_values,
):  # fmt: skip
    """Read lines of a label, decimal numbers and hexadecimal ones; at least one of the last.

    Args:
        data: uint8 text, with ``PADDING`` bytes behind the lines.
        words: uint64; word i is the 8 bytes of ``data`` from i on.
        used: Where the lines end, a line feed being before it.
        separator: Byte between fields.
        table: float32 of the numbers from ``lowest`` on; the last one is of a missing number.
        lowest: See there.
        buckets: uint64; 0: make keys. Else ids, by hashing the keys.
        labels: ``(rows,)`` uint8; from here on what is written.
        dense: ``(rows, n)`` float32.
        keys: ``(rows, F)`` uint64; none when ids are made.
        ids: ``(rows, F)`` int32; none when keys are made.
        plain: ``(rows,)`` bool, whether the row could be read. If not, the above has no meaning.
        ends: ``(rows,)`` int64 positions behind the line feeds.
        far_places: ``(rows * n,)`` int64 places in ``dense`` of numbers that are not in the table.
        far_values: ``(rows * n,)`` int64, these numbers.

    Returns:
        How many numbers are not in the table.
    """
    n_dense = dense.shape[1]
    n_sparse = max(keys.shape[1], ids.shape[1])
    marks = np.uint64(separator) * _ONE
    missing = table.size - 1
    position = np.int64(0)
    row = far = 0
    while position < used:
        start = position
        label = data[position]
        good = (label == 48 or label == 49) and data[position + 1] == separator
        labels[row] = label & 1
        position += 2
        column = 0
        while good and column < n_dense:
            word = words[position]
            crossed = word ^ marks
            mark = (crossed - _ONE) & ~crossed & _HIGH  # in the separator's byte, and maybe behind
            if mark != _U0:
                # The bytes up to the lowest mark, counted by adding up one bit of each.
                length = (((((mark & (~mark + _U1)) - _U1) & _ONE) * _ONE) >> _U56) - _U1
                negative = (word & _BYTE) == _MINUS and length > _U1
                digits = word ^ _ZEROS
                if negative:
                    digits ^= _MINUS_AS_ZERO
                digits = (digits << (_U56 - _U8 * length)) << _U8
            else:
                length = _U8
                negative = (word & _BYTE) == _MINUS
                digits = word ^ _ZEROS
                if negative:
                    digits ^= _MINUS_AS_ZERO
                good = data[position + 8] == separator
            number = np.int64(_read_decimal(digits))
            good &= ((digits + _ABOVE_NINE) | digits) & _HIGH == _U0
            if negative:
                good &= number != 0  # -0 is another number than 0
                number = -number
            index = number - lowest
            if index >= missing:
                index += 1
            if length == _U0:
                index = missing
            if 0 <= index <= missing:
                dense[row, column] = table[index]
            else:
                far_places[far] = row * n_dense + column
                far_values[far] = number
                far += 1
            position += np.int64(length) + 1
            column += 1
        column = 0
        while good and column < n_sparse:
            last = column == n_sparse - 1
            end = _NEWLINE if last else separator
            word = words[position]
            key, whole = _read_hexadecimal(word)
            if data[position + 8] == end and whole:
                position += 9
            elif data[position] == end:
                key = _MISSING
                position += 1
            else:
                size = 0
                while size < 9 and data[position + size] != end:
                    if last and data[position + size] == _RETURN:
                        break
                    size += 1
                key = _MISSING
                if 0 < size < 9:
                    word = ((word ^ _ZEROS) << (_U64 - _U8 * np.uint64(size))) ^ _ZEROS
                    key, whole = _read_hexadecimal(word)
                    good = whole
                good &= size < 9
                position += size
                if last and good and data[position] == _RETURN:
                    position += 1
                    good = data[position] == _NEWLINE
                position += 1
            if buckets == _U0:
                keys[row, column] = key
            else:
                ids[row, column] = np.int32(mix64(key) % buckets)
            column += 1
        if not good:
            position = start
            while data[position] != _NEWLINE:
                position += 1
            position += 1
        plain[row] = good
        ends[row] = position
        row += 1
    return far


@compiled
def number_keys(keys, entries, shift, size, found, numbers, counts):  # type: ignore[no-untyped-def]
    """Number keys by first appearance.

    Args:
        keys: ``(n,)`` uint64.
        entries: The table, with room for all of them.
        shift: uint64, 64 less the bits of a slot.
        size: Keys in the table.
        found: ``(n,)`` uint64 to work with.
        numbers: ``(n,)`` int32, written.
        counts: Raised by one for each number seen; or empty.

    Returns:
        Keys in the table now.
    """
    mask = entries.size - 1
    # All first looks before any decision, so that many wait for the memory at the same time.
    for i in range(keys.size):
        found[i] = entries[np.int64((keys[i] * _GOLDEN) >> shift)]
    for i in range(keys.size):
        key, entry = keys[i], found[i]
        if (entry >> NUMBER_BITS) != key:
            # Looked up once more: an earlier one of these keys may have come in.
            slot = np.int64((key * _GOLDEN) >> shift)
            entry = entries[slot]
            while entry != EMPTY and (entry >> NUMBER_BITS) != key:
                slot = (slot + 1) & mask
                entry = entries[slot]
            if entry == EMPTY:
                entry = (key << NUMBER_BITS) | np.uint64(size)
                entries[slot] = entry
                size += 1
        number = np.int64(entry & _NUMBER)
        numbers[i] = np.int32(number)
        if counts.size:
            counts[number] += 1
    return size


@compiled
def move_entries(old, entries, shift):  # type: ignore[no-untyped-def]
    """Put all entries of a table into a larger one."""
    mask = entries.size - 1
    for i in range(old.size):
        entry = old[i]
        if entry != EMPTY:
            slot = np.int64(((entry >> NUMBER_BITS) * _GOLDEN) >> shift)
            while entries[slot] != EMPTY:
                slot = (slot + 1) & mask
            entries[slot] = entry
