"""Amazon's books from SNAP's dump of reviews, with the AutoTower paper's fields and filters.

``Books.txt`` has a record of ten lines ``key: value`` for each review, and a blank line after it.
Every review is an interaction. User field: id. Item fields: asin and price in 50 bins ("unknown"
counts as 0; of an item's reviews the first one with a price says it), both of which are in
histories. Users with fewer than 20 and items with fewer than 10 reviews are left out, both counted
before (20 and 20 says the paper, 20 and 10 its release). Reviews of the user "unknown" are nobody's
and are left out first, and counted in the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from dnas.data.ahead import Ahead
from dnas.data.bad_rows import shorten
from dnas.data.records import TextFormat
from dnas.data.retrieval.encode import Field, at_least, encode
from dnas.data.retrieval.interactions import Interactions
from dnas.data.retrieval.raw import BLOCK_BYTES, raw_file
from dnas.data.text import read_lines
from dnas.errors import DataError

logger = logging.getLogger(__name__)

AMAZON_FILES = ("Books.txt",)
MINIMUM = {"user": 20, "item": 10}
PRICE_BINS = 50
_UNKNOWN = "unknown"
#: The lines wanted of each record, in their order in it.
_KEYS = {
    "item": b"product/productId: ",
    "price": b"product/price: ",
    "user": b"review/userId: ",
    "time": b"review/time: ",
}
_LONGEST = max(map(len, _KEYS.values()))
_NEWLINE = 10


def amazon_books(folder: str | Path, seq_len: int) -> Interactions:
    """Amazon's books: ``Books.txt``, as a rule compressed: ``Books.txt.gz``.

    Args:
        folder: Where it is.
        seq_len: Length of histories.

    Raises:
        DataError: The file is missing or malformed.
    """
    path = raw_file(folder, AMAZON_FILES[0])
    rows = _read(path)
    nobody = rows["user"] == _UNKNOWN
    if nobody.any():
        logger.warning(
            "%s: %d of %d reviews are of no user, and left out", path, nobody.sum(), rows.height
        )
        rows = rows.filter(~nobody)
    kept = at_least(rows, MINIMUM)
    items = kept.group_by("item").agg(
        pl.col("price").filter(pl.col("price") > 0).first().fill_null(0.0)
    )
    return encode(
        kept,
        kept.select(pl.col("user").unique()),
        items,
        user_fields=(),
        item_fields=(Field("price", PRICE_BINS),),
        seq_len=seq_len,
    )


def _read(path: Path) -> pl.DataFrame:
    """``item``, ``price`` (0: unknown), ``user``, ``time`` of every record."""
    found: dict[str, list[tuple[np.ndarray, pl.Series]]] = {name: [] for name in _KEYS}
    with Ahead(_values(path)) as blocks:
        for block in blocks:
            for name, part in block.items():
                found[name].append(part)
    lines = {
        name: np.concatenate([part for part, _ in parts] or [np.empty(0, np.int64)])
        for name, parts in found.items()
    }
    _check_order(path, lines)
    columns = {name: pl.concat([part for _, part in parts]) for name, parts in found.items()}
    return pl.DataFrame(columns)


def _values(path: Path) -> Iterator[dict[str, tuple[np.ndarray, pl.Series]]]:
    """Line numbers and values of the wanted lines, block by block."""
    text = TextFormat(" ", None, fields=1, header=False)
    for lines in read_lines(path, text, block_bytes=BLOCK_BYTES, padding=_LONGEST):
        data = np.frombuffer(lines.data, np.uint8)
        ends = np.flatnonzero(data[: lines.used] == _NEWLINE)
        starts = np.concatenate(([0], ends[:-1] + 1)) if ends.size else ends
        block = {}
        for name, key in _KEYS.items():
            which = _lines_of(data, starts, key)
            numbers = lines.line + which
            values = _strings(path, data, starts[which] + len(key), ends[which], numbers)
            block[name] = numbers, _converted(path, name, values, numbers)
        yield block


def _lines_of(data: np.ndarray, starts: np.ndarray, key: bytes) -> np.ndarray:
    """Which lines begin with a key. The last letters come first: they tell keys apart soonest."""
    which = np.arange(len(starts))
    for at in reversed(range(len(key))):
        which = which[data[starts[which] + at] == key[at]]
    return which


def _strings(
    path: Path, data: np.ndarray, starts: np.ndarray, ends: np.ndarray, lines: np.ndarray
) -> pl.Series:
    """The text between starts and ends, without carriage returns; ASCII."""
    ends = ends - (data[ends - 1] == ord("\r"))
    lengths = ends - starts
    if (lengths <= 0).any():
        raise DataError(f"{path}:{lines[int(np.argmax(lengths <= 0))]}: there is no value")
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    text = data[places]
    if (text > 127).any():
        at = int(np.searchsorted(offsets, int(np.argmax(text > 127)), side="right")) - 1
        value = text[offsets[at] : offsets[at + 1]].tobytes()
        raise DataError(f"{path}:{lines[at]}: {shorten(value)} is not ASCII text")
    made = pa.LargeStringArray.from_buffers(
        len(lengths), pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(text)
    )
    return pl.Series(pl.from_arrow(made), dtype=pl.String)


def _converted(path: Path, name: str, values: pl.Series, lines: np.ndarray) -> pl.Series:
    if name == "price":
        number = values.replace(_UNKNOWN, "0").cast(pl.Float64, strict=False)
        wrong = (number.is_null() | ~number.is_finite() | (number < 0)).arg_true()
        wanted = "a price or unknown"
    elif name == "time":
        number = values.cast(pl.Int64, strict=False)
        wrong, wanted = number.is_null().arg_true(), "seconds since 1970"
    else:
        return values
    if len(wrong):
        at = int(wrong[0])
        raise DataError(f"{path}:{lines[at]}: {name} is {shorten(values[at])}, not {wanted}")
    return number


def _check_order(path: Path, lines: dict[str, np.ndarray]) -> None:
    """Each record has each wanted line once, in order.

    Raises:
        DataError: One has not; the message names the line at which that shows.
    """
    columns = list(lines.values())
    complete = min(map(len, columns))
    if not complete:
        raise DataError(
            f"{path}: no record with the lines {', '.join(map(repr, _KEYS.values()))} in it"
        )
    table = np.stack([column[:complete] for column in columns], axis=1).reshape(-1)
    wrong = np.flatnonzero(np.diff(table) <= 0)
    if wrong.size or max(map(len, columns)) > complete:
        record = int(wrong[0]) // len(columns) if wrong.size else complete
        at = min(int(column[record]) for column in columns if record < len(column))
        names = ", ".join(key.decode().strip(": ") for key in _KEYS.values())
        raise DataError(f"{path}:{at}: a record around here lacks one of {names}, or has two of it")
