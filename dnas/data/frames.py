"""Records of text to frames of strings, checked and in blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from dnas.data.ahead import Ahead
from dnas.data.records import TextFormat
from dnas.data.text import Records, read_records
from dnas.errors import DataError


def read_frames(
    path: Path,
    names: tuple[str, ...],
    text: TextFormat,
    columns: Sequence[str],
    *,
    block_bytes: int,
) -> Iterator[tuple[Records, pl.DataFrame]]:
    """Read a file in blocks of so many bytes, by a thread.

    Args:
        path: The file.
        names: All its columns.
        text: How it is written.
        columns: Those to give.
        block_bytes: Bytes of text read at a time.

    Yields:
        Records, and ``columns`` of them as strings; an empty field is null.

    Raises:
        DataError: The file cannot be read, or is no text.
    """
    with Ahead(read_records(path, text, block_bytes=block_bytes)) as parts:
        for records in parts:
            yield records, to_frame(path, names, text, columns, records)


def to_frame(
    path: Path,
    names: tuple[str, ...],
    text: TextFormat,
    columns: Sequence[str],
    records: Records,
) -> pl.DataFrame:
    """Some columns of some records as strings; see :func:`read_frames`."""
    if not records.lines.size:
        return pl.DataFrame(schema={name: pl.String for name in columns})
    frame = pl.read_csv(
        records.data,
        has_header=False,
        separator=text.separator,
        quote_char=text.quote,
        schema=dict.fromkeys(names, pl.String),
        columns=[names.index(name) for name in columns],
    )
    if frame.height != records.lines.size:
        raise DataError(
            f"{path}:{records.lines[0]}: {records.lines.size} records from here on are "
            f"read as {frame.height}: check the quotes and the separator {text.separator!r}"
        )
    return frame
