"""Rows of plain integers: the format of Criteo at several times the speed of a general parser.

A row with anything but plain integers in it is not judged here: it is pointed out, and read again
by the general reader, which takes or refuses it with its reason.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnas.data.kernels import read_rows
from dnas.data.layout import DenseRule, Layout
from dnas.data.records import Lines, TextFormat

#: Numbers between these are transformed by a table.
_LOWEST, _HIGHEST = -1024, 1 << 16


@dataclass(frozen=True)
class PlainRows:
    """What could be read of some lines.

    Attributes:
        labels: ``(rows,)`` uint8.
        dense: ``(rows, n_dense)`` float32, transformed.
        sparse: ``(rows, F)`` uint64 keys or int32 ids.
        plain: ``(rows,)`` bool; nothing above holds of the other rows.
        ends: ``(rows,)`` int64 position in the text behind each row.
    """

    labels: np.ndarray
    dense: np.ndarray
    sparse: np.ndarray
    plain: np.ndarray
    ends: np.ndarray


class PlainReader:
    """Reads lines for which :meth:`suits` holds.

    Args:
        text: How they are written.
        layout: What the columns are.
        rule: The transform of numbers.
        buckets: Make ids at once, by hashing the keys into so many; None: leave the keys.
    """

    def __init__(
        self, text: TextFormat, layout: Layout, rule: DenseRule, buckets: int | None
    ) -> None:
        self._separator = ord(text.separator)
        self._n_dense, self._n_sparse = len(layout.dense), len(layout.sparse)
        self._rule, self._buckets = rule, buckets
        # The last entry is what becomes of a missing number.
        numbers = np.append(np.arange(_LOWEST, _HIGHEST, dtype=np.float64), np.nan)
        self._table = rule.apply(numbers)

    @staticmethod
    def suits(names: tuple[str, ...], text: TextFormat, layout: Layout) -> bool:
        """Whether all columns are label, numbers and hexadecimal keys, with nothing around them.

        Args:
            names: All columns of the file, in its order.
            text: How it is written.
            layout: What the columns are.
        """
        return (
            names == (layout.label, *layout.dense, *layout.sparse)
            and bool(layout.sparse)
            and text.quote is None
            and not text.separator.isalnum()
            and layout.hexadecimal
            and not layout.strip
            and not layout.missing
            and layout.part is None
            and not layout.zeros
            and (layout.negative, layout.positive) == (("0",), ("1",))
        )

    def read(self, lines: Lines) -> PlainRows:
        """Read some lines."""
        data, rows = lines.data, lines.rows
        hashed = self._buckets is not None
        keys = np.empty((0, 0) if hashed else (rows, self._n_sparse), dtype=np.uint64)
        ids = np.empty((rows, self._n_sparse) if hashed else (0, 0), dtype=np.int32)
        result = PlainRows(
            labels=np.empty(rows, dtype=np.uint8),
            dense=np.empty((rows, self._n_dense), dtype=np.float32),
            sparse=ids if hashed else keys,
            plain=np.empty(rows, dtype=np.bool_),
            ends=np.empty(rows, dtype=np.int64),
        )
        # Room for all numbers; memory that is not written to is not taken from the system.
        far_places = np.empty(rows * self._n_dense, dtype=np.int64)
        far_values = np.empty(rows * self._n_dense, dtype=np.int64)
        far = read_rows(
            np.frombuffer(data, np.uint8),
            np.ndarray((len(data) - 7,), "<u8", data, strides=(1,)),
            lines.used,
            self._separator,
            self._table,
            _LOWEST,
            np.uint64(self._buckets or 0),
            result.labels,
            result.dense,
            keys,
            ids,
            result.plain,
            result.ends,
            far_places,
            far_values,
        )
        if far:
            values = far_values[:far].astype(np.float64)
            result.dense.reshape(-1)[far_places[:far]] = self._rule.apply(values)
        return result
