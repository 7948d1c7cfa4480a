"""Parsed columns to the arrays of a store: labels, numbers, keys of categories.

Everything is done for a whole block at once; only when something is wrong are the rows at fault
looked up one by one, for the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from dnas.data.bad_rows import BadRow, shorten
from dnas.data.kernels import residue_keys
from dnas.data.keys import MISSING_KEY, MISSING_TEXT
from dnas.data.layout import DenseRule, Layout
from dnas.data.vocabulary import Columns

#: From here on not every integer is a float64.
_EXACT = 2**53
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Block:
    """Rows ready for a store, malformed ones left out.

    Attributes:
        labels: ``(rows,)`` uint8.
        dense: ``(rows, n_dense)`` float32, transformed; the layout's zeros are the last of them.
        sparse: The values that are not yet ids, see :data:`~dnas.data.vocabulary.Columns`.
        parts: ``(rows,)`` uint8 codes, or None.
        bad: The rows left out.
        kept: Which of the rows that were given are here.
    """

    labels: np.ndarray
    dense: np.ndarray
    sparse: Columns
    parts: np.ndarray | None
    bad: list[BadRow]
    kept: np.ndarray


def convert(frame: pl.DataFrame, lines: np.ndarray, layout: Layout, rule: DenseRule) -> Block:
    """Check and convert the columns of a block.

    Args:
        frame: Columns ``layout.used``, as text or (from Parquet) as they are typed there.
        lines: ``(rows,)`` line of each row, for messages.
        layout: What the columns are.
        rule: The transform of numbers.
    """
    clean = _clean(frame, layout)
    read = _read(clean, layout)
    faults = _find_faults(frame, clean, read, layout)
    bad = [BadRow(int(lines[row]), reason) for row, reason in faults.items()]
    kept = np.ones(frame.height, dtype=bool)
    if faults:
        kept[list(faults)] = False
        clean, read = clean.filter(pl.Series(kept)), read.filter(pl.Series(kept))
    numbers = np.zeros((read.height, len(layout.dense) + len(layout.zeros)), dtype=np.float64)
    for i, name in enumerate(layout.dense):
        numbers[:, i] = read[name].to_numpy()  # null becomes NaN
    sparse: Columns
    if layout.integers or not layout.sparse:
        sparse = np.empty((read.height, len(layout.sparse)), dtype=np.uint64)
        for i, name in enumerate(layout.sparse):
            sparse[:, i] = read[name].fill_null(MISSING_KEY).to_numpy()
    else:
        sparse = list(clean.select(pl.col(n).fill_null(MISSING_TEXT) for n in layout.sparse))
    return Block(
        labels=read[layout.label].to_numpy(),
        dense=rule.apply(numbers),
        sparse=sparse,
        parts=read[layout.part].to_numpy() if layout.part is not None else None,
        bad=bad,
        kept=kept,
    )


def _clean(frame: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Categories, label and part as text, numbers as text or numbers; missing is null."""
    kinds = frame.schema
    numeric = {n for n in layout.dense if kinds[n].is_numeric() or kinds[n] == pl.Boolean}
    texts = [name for name in layout.used if name not in numeric]
    strip = layout.strip

    def text(name: str) -> pl.Expr:
        column = _as_text(name, kinds[name])
        return column.str.strip_chars() if strip else column

    clean = frame.with_columns(
        *(text(name) for name in texts if strip or kinds[name] != pl.String),
        *(_as_number(name, kinds[name], layout.missing) for name in numeric),
    )

    def absent(name: str) -> pl.Expr:
        if not layout.missing:
            return pl.col(name) == ""
        return pl.col(name).is_in(["", *layout.missing])

    # Most columns have none of them: looking is cheaper than copying.
    found = clean.select(absent(name).any() for name in texts)
    return clean.with_columns(
        pl.when(~absent(name)).then(pl.col(name)).alias(name) for name in texts if found[name][0]
    )


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    """A column as text; 3.0 is 3, for a file in which a value is absent often has floats where
    another one has integers."""
    if not kind.is_float():
        return pl.col(name).cast(pl.String)
    value = pl.col(name).cast(pl.Float64).fill_nan(None)
    whole = (value == value.round()) & (value.abs() < _EXACT)
    as_integer = value.cast(pl.Int64, strict=False).cast(pl.String)
    return pl.when(whole).then(as_integer).otherwise(pl.col(name).fill_nan(None).cast(pl.String))


def _as_number(name: str, kind: pl.DataType, missing: Sequence[str]) -> pl.Expr:
    """A column of numbers as float64, null where it has the value of a text that means absent."""
    value = pl.col(name).cast(pl.Float64).fill_nan(None)
    absent = [number for text in missing if (number := _number(text)) is not None]
    if kind == pl.Float32:
        absent = [float(np.float32(number)) for number in absent]
    return pl.when(~value.is_in(absent)).then(value).alias(name) if absent else value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _read(clean: pl.DataFrame, layout: Layout) -> pl.DataFrame:
    """Every column but text categories as numbers; what cannot be read is null."""
    hexadecimal = layout.sparse if layout.hexadecimal else ()
    # All columns in one select: polars spreads them over the cores.
    read = clean.select(
        _label(layout),
        *(pl.col(name).cast(pl.Float64, strict=False) for name in layout.dense),
        *(_keys(name) for name in hexadecimal),
        *([_part(layout)] if layout.part is not None else []),
    )
    if layout.residues:
        read = read.with_columns(_residues(clean[name]) for name in layout.sparse)
    # These readings take a little too much. Whether they did in this block is cheaper to ask than
    # to keep them from it.
    large = read.select(_is_large(name).any() for name in layout.dense)
    odd = clean.select(_is_odd(name).any() for name in hexadecimal)
    texts = clean.select(name for name in hexadecimal if odd[name][0])
    return read.with_columns(
        *(
            pl.when(~_is_large(name)).then(pl.col(name)).alias(name)
            for name in layout.dense
            if large[name][0]
        ),
        *(
            texts.select(pl.when(~_is_odd(name)).then(_keys(name)).alias(name)).to_series()
            for name in texts.columns
        ),
    )


def _label(layout: Layout) -> pl.Expr:
    text = pl.col(layout.label)
    if layout.counts:
        return (text.cast(pl.UInt32, strict=False) > 0).cast(pl.UInt8).alias(layout.label)
    return (
        pl.when(text.is_in(list(layout.positive)))
        .then(pl.lit(1, dtype=pl.UInt8))
        .when(text.is_in(list(layout.negative)))
        .then(pl.lit(0, dtype=pl.UInt8))
        .alias(layout.label)
    )


def _is_large(name: str) -> pl.Expr:
    """A text like nan or inf is a number to polars; NaN compares as false here."""
    return ~(pl.col(name).abs() <= _LARGEST)


def _keys(name: str) -> pl.Expr:
    return pl.col(name).str.to_integer(base=16, strict=False, dtype=pl.Int64)


def _residues(column: pl.Series) -> pl.Series:
    """Keys of texts; null for what is null or cannot be read."""
    keys = np.empty(len(column), dtype=np.uint64)
    residue_keys(*text_buffers(column.fill_null("")), keys)
    series = pl.Series(column.name, keys)
    return series.set(series == MISSING_KEY, None)


def text_buffers(column: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of all texts of a column without null, one after the other, and where they begin.

    Returns:
        uint8 data, and ``(rows + 1,)`` int64 offsets: text i is
        ``data[offsets[i]:offsets[i + 1]]``.
    """
    array = column.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    if not len(array):
        return np.zeros(0, dtype=np.uint8), np.zeros(1, dtype=np.int64)
    _, places, data = array.buffers()
    offsets = np.frombuffer(places, np.int64)[array.offset : array.offset + len(array) + 1]
    text = np.frombuffer(data, np.uint8) if data else np.zeros(0, dtype=np.uint8)
    return text, offsets


def _is_odd(name: str) -> pl.Expr:
    """More than 32 bits, or a sign: both characters are below the digits."""
    return (pl.col(name).str.len_bytes() > 8) | (pl.col(name) < "0")


def _part(layout: Layout) -> pl.Expr:
    codes = dict(layout.parts or {})
    return (
        pl.col(layout.part or "")
        .replace_strict(list(codes), list(codes.values()), default=None, return_dtype=pl.UInt8)
        .alias(layout.part or "")
    )


def _find_faults(
    frame: pl.DataFrame, clean: pl.DataFrame, read: pl.DataFrame, layout: Layout
) -> dict[int, str]:
    """The first fault of each malformed row: present and not readable, or absent and required."""
    faults: dict[int, str] = {}
    required = (layout.label, layout.part)
    for name in read.columns:
        unread = read[name].null_count()
        if unread == 0 or (name not in required and unread == clean[name].null_count()):
            continue
        bad = read[name].is_null()
        if name not in required:
            bad = bad & clean[name].is_not_null()
        for row in np.flatnonzero(bad.to_numpy()):
            value = shorten(frame[name][int(row)])
            faults.setdefault(int(row), _reason(name, value, layout))
    return faults


def _reason(name: str, value: str, layout: Layout) -> str:
    if name == layout.label and layout.counts:
        return f"label {name} is {value}, not a count"
    if name == layout.label:
        plain = "1" in layout.positive
        wanted = "0 or 1" if plain else f"one of {', '.join(layout.negative + layout.positive)}"
        return f"label {name} is {value}, not {wanted}"
    if name == layout.part:
        listed = ", ".join(sorted(layout.parts or {}))
        return f"split column {name} is {value}, which the schema does not list (listed: {listed})"
    if name in layout.dense:
        return f"numeric column {name} is {value}, not a finite number"
    if layout.residues:
        return f"column {name} is {value}, not a decimal or hexadecimal integer"
    return f"column {name} is {value}, not a hexadecimal number of 32 bits"
