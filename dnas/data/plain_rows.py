"""Rows of plain integers: the format of Criteo at several times the speed of a general parser.

The separators of a block are already known, so that each field is one gather away (see
:mod:`dnas.data.integer_text`), and rows come out as rows, which is how the store wants them. A row
with anything but plain integers in it is not judged here: it is pointed out, and read again by the
general reader, which takes or refuses it with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnas.data.integer_text import read_decimal, read_hexadecimal, words_before
from dnas.data.keys import MISSING_KEY
from dnas.data.layout import DenseRule, Layout

#: Rows that are read at a time: all that is made of them stays in the cache of a core.
_CHUNK_ROWS = 2048
#: Numbers between these are transformed by a table.
_LOWEST, _HIGHEST = -1024, 1 << 16
_MISSING_BIT = np.uint64(MISSING_KEY.bit_length() - 1)


@dataclass(frozen=True)
class PlainRows:
    """What could be read of a block.

    Attributes:
        labels: ``(rows,)`` uint8.
        dense: ``(rows, n_dense)`` float32, transformed.
        keys: ``(rows, F)`` uint64.
        plain: ``(rows,)`` bool; nothing above holds of the other rows.
    """

    labels: np.ndarray
    dense: np.ndarray
    keys: np.ndarray
    plain: np.ndarray


class PlainReader:
    """Reads rows of a layout for which :meth:`suits` holds.

    Args:
        names: All columns of the file, in its order.
        layout: What they are.
        rule: The transform of numbers.
    """

    def __init__(self, names: tuple[str, ...], layout: Layout, rule: DenseRule) -> None:
        self._integers = _select([names.index(name) for name in (layout.label, *layout.dense)])
        self._keys = _select([names.index(name) for name in layout.sparse])
        self._n_dense, self._n_sparse = len(layout.dense), len(layout.sparse)
        self._rule = rule
        # The last entry is what becomes of a missing number.
        numbers = np.append(np.arange(_LOWEST, _HIGHEST, dtype=np.float64), np.nan)
        self._table = rule.apply(numbers)

    @staticmethod
    def suits(layout: Layout) -> bool:
        """Whether a layout has nothing but integers, without spaces around them."""
        return (
            layout.hexadecimal
            and not layout.strip
            and not layout.missing
            and layout.part is None
            and (layout.negative, layout.positive) == (("0",), ("1",))
        )

    def read(self, data: bytes, ends: np.ndarray) -> PlainRows:
        """Read a block.

        Args:
            data: ASCII text.
            ends: ``(rows, fields)`` position of the end of each field.
        """
        rows = len(ends)
        result = PlainRows(
            labels=np.empty(rows, dtype=np.uint8),
            dense=np.empty((rows, self._n_dense), dtype=np.float32),
            keys=np.empty((rows, self._n_sparse), dtype=np.uint64),
            plain=np.empty(rows, dtype=bool),
        )
        before = -1
        for start in range(0, rows, _CHUNK_ROWS):
            part = slice(start, start + _CHUNK_ROWS)
            flat = ends[part].reshape(-1)
            shape = (-1, ends.shape[1])
            words = words_before(data, flat).reshape(shape)
            lengths = np.diff(flat, prepend=before)
            lengths -= 1
            lengths = lengths.reshape(shape)
            before = int(flat[-1])
            plain = self._read_integers(words, lengths, result, part)
            plain &= self._read_keys(words, lengths, result, part)
            result.plain[part] = plain
        return result

    def _read_integers(
        self, words: np.ndarray, lengths: np.ndarray, result: PlainRows, part: slice
    ) -> np.ndarray:
        lengths = lengths[:, self._integers]
        values, plain = read_decimal(words[:, self._integers], lengths)
        labels = values[:, 0]
        plain[:, 0] &= (lengths[:, 0] == 1) & (labels >= 0) & (labels <= 1)
        result.labels[part] = labels
        values -= _LOWEST
        index = values[:, 1:]
        beyond = index.view(np.uint64) >= np.uint64(_HIGHEST - _LOWEST)  # or below 0
        # Far behind the table, whose last entry is what is taken then.
        missing = (lengths[:, 1:] == 0).astype(np.int64)
        missing <<= 40
        missing |= index
        dense = result.dense[part]
        self._table.take(missing, mode="clip", out=dense)
        if beyond.any():
            dense[beyond] = self._rule.apply((index[beyond] + _LOWEST).astype(np.float64))
        return np.all(plain, axis=1)

    def _read_keys(
        self, words: np.ndarray, lengths: np.ndarray, result: PlainRows, part: slice
    ) -> np.ndarray:
        lengths = lengths[:, self._keys]
        values, plain = read_hexadecimal(words[:, self._keys], lengths)
        # An empty field reads as 0.
        missing = (lengths == 0).astype(np.uint64)
        missing <<= _MISSING_BIT
        np.bitwise_or(values, missing, out=result.keys[part])
        return np.all(plain, axis=1)


def _select(columns: list[int]) -> slice | list[int]:
    """How to index columns; a slice, which copies nothing, for consecutive ones."""
    if columns == list(range(columns[0], columns[0] + len(columns))):
        return slice(columns[0], columns[0] + len(columns))
    return columns
