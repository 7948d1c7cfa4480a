"""Delimited text in blocks of whole records, with the line number of every record.

Parsers of CSV are fast or strict, seldom both: most of them pad short rows and cut long ones in
silence. Here the separators and line ends of a block are found by numpy before the block goes to
a parser, so that a row with the wrong number of fields is found with its line number. Memory is
bounded by the block, not by the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from dnas.data.bad_rows import BadRow, shorten
from dnas.data.quoted_records import split_quoted
from dnas.data.records import Lines, RawBlock, TextFormat, cut_lines, split_plain
from dnas.errors import DataError

#: A header is not longer than this.
HEADER_BYTES = 1 << 20
#: A line longer than this is no line of a click log.
RECORD_BYTES = 64 << 20

Cut = TypeVar("Cut", RawBlock, Lines)

_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}


@dataclass(frozen=True)
class Records:
    """A part of a file.

    Attributes:
        data: Records with the right number of fields, each ended by a line feed; UTF-8.
        lines: ``(rows,)`` int64 line at which each record begins, from 1.
        bad: Records that were left out of ``data``.
    """

    data: bytes
    lines: np.ndarray
    bad: list[BadRow]


@contextmanager
def open_bytes(path: Path) -> Iterator[Any]:
    """Open a file for reading bytes, decompressed as its suffix says.

    Raises:
        DataError: The file cannot be opened, or turns out not to be what its suffix says.
    """
    compression = _COMPRESSION.get(path.suffix.lower())
    try:
        with pa.input_stream(str(path), compression=compression) as stream:
            yield stream
    except OSError as error:
        what = f"cannot be read as {compression}" if compression else "cannot be read"
        raise DataError(f"{path}: {what} ({error}); see --raw_data") from None


def read_header(path: Path, text: TextFormat) -> list[str]:
    """The fields of a file's first record.

    Raises:
        DataError: The file is empty, or its first line is not UTF-8 text.
    """
    data = b""
    with open_bytes(path) as stream:
        while b"\n" not in data and len(data) < HEADER_BYTES:
            chunk = stream.read(1 << 16)
            if not chunk:
                break
            data += chunk
    line = data.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].rstrip(b"\r")
    if not line.strip():
        raise DataError(f"{path}:1: no header: the file is empty, or begins with a blank line")
    try:
        names = line.decode().split(text.separator)
    except UnicodeDecodeError:
        raise DataError(f"{path}:1: the header is not UTF-8 text: {shorten(line)}") from None
    quote = text.quote
    if quote and quote in line.decode():
        # Names with separators inside quotes are rare enough to be refused.
        for name in names:
            bare = name[1:-1] if len(name) > 1 and name[0] == name[-1] == quote else name
            if quote in bare:
                raise DataError(f"{path}:1: cannot read the column name {shorten(name)}")
        names = [n[1:-1] if n.startswith(quote) else n for n in names]
    return [name.strip() for name in names]


def read_records(path: Path, text: TextFormat, *, block_bytes: int) -> Iterator[Records]:
    """Read a file from start to end.

    Blank lines are malformed records, except at the end of the file, where they are let pass.

    Args:
        path: The file.
        text: How it is written.
        block_bytes: Bytes of text read at a time.

    Raises:
        DataError: The file cannot be read, or is no text.
    """

    def split(data: bytes, line: int, end: bool) -> RawBlock:
        if text.quote is not None and text.quote.encode() in data:
            return split_quoted(data, text, line, end)
        return split_plain(data, text, line)

    skip = text.header
    blanks = Blanks()
    for block in _cut(path, block_bytes, split):
        records = blanks.hold(check(block, text, skip))
        skip = skip and block.ends.size == 0
        if records is not None:
            yield records


def read_lines(path: Path, text: TextFormat, *, block_bytes: int, padding: int) -> Iterator[Lines]:
    """As :func:`read_records`, for text without quotes and header, without looking at the records.

    Args:
        path: The file.
        text: How it is written.
        block_bytes: Bytes of text read at a time.
        padding: Bytes there must be behind the lines of a block.

    Raises:
        DataError: The file cannot be read, or is no text.
    """
    assert text.quote is None
    assert not text.header
    return _cut(path, block_bytes, lambda data, line, end: cut_lines(data, line, padding))


def _cut(path: Path, block_bytes: int, split: Callable[[bytes, int, bool], Cut]) -> Iterator[Cut]:
    """The blocks of a file; ``split`` takes text, its line, and whether nothing follows."""
    tail = b""
    line = 1
    start = True
    with open_bytes(path) as stream:
        while True:
            chunk = stream.read(block_bytes)
            end = not chunk
            data = tail + chunk
            if start and len(data) >= 3:
                data = data.removeprefix(b"\xef\xbb\xbf")
                start = False
            if end and data and not data.endswith(b"\n"):
                data += b"\n"
            block = split(data, line, end)
            tail = data[block.used :]
            if len(tail) > RECORD_BYTES:
                raise DataError(
                    f"{path}:{block.next_line}: no line end within {RECORD_BYTES >> 20} MiB: "
                    "not a text file? see --raw_data"
                )
            line = block.next_line
            yield block
            if end:
                return


class Blanks:
    """Holds blank lines back until something follows them, which makes them malformed."""

    def __init__(self) -> None:
        self._held: list[BadRow] = []

    def hold(self, checked: tuple[Records, list[BadRow]], follows: bool = False) -> Records | None:
        """Take a block.

        Args:
            checked: What :func:`check` made of it.
            follows: Whether it has rows besides those.

        Returns:
            The block, with the blank lines before it; None when there is nothing in it.
        """
        records, trailing = checked
        if not (follows or records.bad or records.lines.size):
            self._held += trailing
            return None
        records = dataclasses.replace(records, bad=self._held + records.bad)
        self._held = trailing
        return records


def check(
    block: RawBlock, text: TextFormat, skip_first: bool, last: int = 0
) -> tuple[Records, list[BadRow]]:
    """Leave out what is malformed.

    Args:
        block: Records.
        text: How they are written.
        skip_first: Whether the first one is no record.
        last: A line before which all blank lines are malformed.

    Returns:
        The records, and the blank lines at the very end.
    """
    data = block.data[: block.used]
    good = block.separators == text.fields - 1
    if good.all() and not skip_first and b"\r" not in data and data.isascii():
        return Records(data, block.lines, []), []
    if skip_first and good.size:
        good[0] = False
    bad: list[BadRow] = []
    if not data.isascii():
        bad += _drop_undecodable(block, data, good)
    blanks: list[BadRow] = []
    wrong = np.flatnonzero(block.separators != text.fields - 1)
    for i in wrong[1:] if skip_first and wrong.size and wrong[0] == 0 else wrong:
        number = int(block.lines[i])
        record = data[block.starts[i] : block.ends[i]].strip(b"\r\n")
        if not record.strip():
            blanks.append(BadRow(number, "blank line"))
            continue
        count = int(block.separators[i]) + 1
        reason = block.faults.get(int(i)) or (
            f"{count} fields where {text.fields} are expected: {shorten(record)}"
        )
        bad.append(BadRow(number, reason))
    lines = block.lines[good].astype(np.int64)
    last = max([last, int(lines[-1]) if lines.size else 0, *(row.line for row in bad)])
    bad += [row for row in blanks if row.line < last]
    if not good.all():
        keep = np.repeat(good, block.ends - block.starts)
        data = np.frombuffer(data, np.uint8)[keep].tobytes()
    if b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    return Records(data, lines, bad), [row for row in blanks if row.line > last]


def _drop_undecodable(block: RawBlock, data: bytes, good: np.ndarray) -> list[BadRow]:
    try:
        data.decode()
        return []
    except UnicodeDecodeError:
        pass
    bad = []
    for i in np.flatnonzero(good):
        record = data[block.starts[i] : block.ends[i]]
        try:
            record.decode()
        except UnicodeDecodeError as error:
            good[i] = False
            value = shorten(record[max(error.start - 10, 0) : error.start + 10])
            bad.append(BadRow(int(block.lines[i]), f"not UTF-8 text near {value}"))
    return bad
