"""Delimited text in blocks of whole records, with the line number of every record.

Parsers of CSV are fast or strict, seldom both: most of them pad short rows and cut long ones in
silence. Here the separators and line ends of a block are counted by numpy before the block goes to
a parser, so that a row with the wrong number of fields is found with its line number at the price
of a quarter of the parsing time. Memory is bounded by the block, not by the file.

Quoting follows RFC 4180: a field that begins with the quote character ends at the next lone one and
may hold separators, line ends and doubled quotes. A quote character anywhere else makes the row
malformed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dnas.data.bad_rows import BadRow, shorten
from dnas.errors import DataError

#: A quoted field that goes on for longer than this was not meant to be one.
QUOTED_RECORD_BYTES = 1 << 20
#: A line longer than this is no line of a click log.
RECORD_BYTES = 64 << 20

_COMPRESSION = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
_NEWLINE = 10


@dataclass(frozen=True)
class TextFormat:
    """How records are written.

    Attributes:
        separator: One ASCII character between fields.
        quote: One ASCII character around fields that hold separators, or None: no quoting.
        fields: Fields of every record.
        header: Whether the first record holds names.
    """

    separator: str
    quote: str | None
    fields: int
    header: bool


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
        while b"\n" not in data and len(data) < QUOTED_RECORD_BYTES:
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
    tail = b""
    line = 1
    skip = text.header
    start = True
    blanks: list[BadRow] = []  # they are malformed only if something follows
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
            block = _split(data, text, line, end)
            tail = data[block.used :]
            if len(tail) > RECORD_BYTES:
                raise DataError(
                    f"{path}:{block.next_line}: no line end within {RECORD_BYTES >> 20} MiB: "
                    "not a text file? see --raw_data"
                )
            line = block.next_line
            records, trailing = _check(block, text, skip)
            skip = skip and block.ends.size == 0
            if records.bad or records.lines.size:
                records = Records(records.data, records.lines, blanks + records.bad)
                blanks = trailing
                yield records
            else:
                blanks += trailing
            if end:
                return


@dataclass(frozen=True)
class _Block:
    """Whole records of ``data``: record i is ``data[starts[i]:ends[i]]``, line end included."""

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    separators: np.ndarray  # in each record
    lines: np.ndarray
    faults: dict[int, str]  # by record
    used: int  # bytes of the input
    next_line: int


def _split(data: bytes, text: TextFormat, line: int, end: bool) -> _Block:
    """Find the whole records at the start of ``data``, the first of which begins at ``line``."""
    quoted = text.quote is not None and text.quote.encode() in data
    if quoted:
        block = _split_quoted(data, text, line, end)
        return block if block is not None else _split_slowly(data, text, line, end)
    used = data.rfind(b"\n") + 1
    array = np.frombuffer(data, np.uint8, count=used)
    is_newline = array == _NEWLINE
    marks = np.flatnonzero(is_newline | (array == ord(text.separator)))
    ends, separators = _count(marks, is_newline[marks], text.fields)
    return _Block(
        data=data,
        starts=np.concatenate(([0], ends[:-1])) if ends.size else ends,
        ends=ends,
        separators=separators,
        lines=line + np.arange(ends.size),
        faults={},
        used=used,
        next_line=line + int(ends.size),
    )


def _count(marks: np.ndarray, is_end: np.ndarray, fields: int) -> tuple[np.ndarray, np.ndarray]:
    """Ends of records, and the separators in each.

    Args:
        marks: Ascending positions of all separators and record ends; the last is an end.
        is_end: Which of them are ends.
        fields: How many fields most records have.
    """
    if marks.size % fields == 0:
        table = is_end.reshape(-1, fields)
        if table[:, -1].all() and np.count_nonzero(is_end) == table.shape[0]:
            return marks[fields - 1 :: fields] + 1, np.full(table.shape[0], fields - 1)
    rank = np.flatnonzero(is_end)
    return marks[rank] + 1, np.diff(rank, prepend=-1) - 1


def _split_quoted(data: bytes, text: TextFormat, line: int, end: bool) -> _Block | None:
    """As :func:`_split` for text with quotes; None when the quotes do not fit."""
    assert text.quote is not None
    quote, separator = ord(text.quote), ord(text.separator)
    array = np.frombuffer(data, np.uint8)
    is_quote = array == quote
    outside = (np.cumsum(is_quote, dtype=np.int32) & 1) == 0
    newlines = np.flatnonzero(array == _NEWLINE)
    real = newlines[outside[newlines]]
    used = int(real[-1]) + 1 if real.size else 0
    if len(data) - used > (0 if end else QUOTED_RECORD_BYTES):
        return None  # a quote is never closed
    quotes = np.flatnonzero(is_quote[:used])
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, array[opening - 1], _NEWLINE)
    after = array[closing + 1]  # a record ends with a line feed: there is a byte behind
    escaped = opening[1:] == closing[:-1] + 1
    fits_before = (before == separator) | (before == _NEWLINE)
    fits_before[1:] |= escaped
    fits_after = (after == separator) | (after == _NEWLINE) | (after == 13)
    fits_after[:-1] |= escaped
    if not (fits_before.all() and fits_after.all()):
        return None
    is_newline = array[:used] == _NEWLINE
    marks = np.flatnonzero((is_newline | (array[:used] == separator)) & outside[:used])
    ends, separators = _count(marks, is_newline[marks], text.fields)
    starts = np.concatenate(([0], ends[:-1])) if ends.size else ends
    if (ends - starts).max(initial=0) > QUOTED_RECORD_BYTES:
        return None
    inside = newlines[newlines < used]
    return _Block(
        data=data,
        starts=starts,
        ends=ends,
        separators=separators,
        lines=line + np.searchsorted(inside, starts),
        faults={},
        used=used,
        next_line=line + int(inside.size),
    )


def _split_slowly(data: bytes, text: TextFormat, line: int, end: bool) -> _Block:
    """Record by record, for text with a stray or an unclosed quote.

    A line whose quotes do not fit is a malformed record by itself, and reading goes on at the line
    after it.
    """
    assert text.quote is not None
    quote, separator = re.escape(text.quote.encode()), re.escape(text.separator.encode())
    field = rb"(?:%b(?:[^%b]|%b%b)*+%b|[^%b%b\n]*+)" % (
        quote, quote, quote, quote, quote, quote, separator,
    )  # fmt: skip
    whole = re.compile(rb"%b(?:%b%b)*+\r?\n" % (field, separator, field))
    # What may yet become a whole record: fields, then a field that has not ended.
    begun = re.compile(
        rb"(?:%b%b)*+(?:%b(?:[^%b]|%b%b)*+%b?\r?|[^%b%b\n]*+)\Z"
        % (field, separator, quote, quote, quote, quote, quote, quote, separator)
    )
    fields = re.compile(rb"%b(%b|\r?\n)" % (field, separator))
    starts: list[int] = []
    ends: list[int] = []
    separators: list[int] = []
    lines: list[int] = []
    faults: dict[int, str] = {}
    position = 0
    while position < len(data):
        limit = position + QUOTED_RECORD_BYTES
        match = whole.match(data, position, limit)
        if match is not None:
            stop = match.end()
            separators.append(sum(1 for _ in fields.finditer(data, position, stop)) - 1)
        else:
            stop = data.find(b"\n", position) + 1
            if not stop or (not end and limit > len(data) and begun.match(data, position)):
                break  # the rest of it is in the next block
            faults[len(starts)] = (
                f"a quote character {text.quote} that opens or closes no field in "
                f"{shorten(data[position : stop - 1])}"
            )
            separators.append(-1)
        starts.append(position)
        ends.append(stop)
        lines.append(line)
        line += data.count(b"\n", position, stop)
        position = stop
    return _Block(
        data=data,
        starts=np.array(starts, dtype=np.int64),
        ends=np.array(ends, dtype=np.int64),
        separators=np.array(separators, dtype=np.int64),
        lines=np.array(lines, dtype=np.int64),
        faults=faults,
        used=position,
        next_line=line,
    )


def _check(block: _Block, text: TextFormat, skip_first: bool) -> tuple[Records, list[BadRow]]:
    """Leave out what is malformed; the second value is the blank lines at the very end."""
    good = block.separators == text.fields - 1
    if skip_first and good.size:
        good[0] = False
    bad: list[BadRow] = []
    data = block.data[: block.used]
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
    last = max([int(lines[-1]) if lines.size else 0, *(row.line for row in bad)])
    bad += [row for row in blanks if row.line < last]
    if not good.all():
        keep = np.repeat(good, block.ends - block.starts)
        data = np.frombuffer(data, np.uint8)[keep].tobytes()
    if b"\r\n" in data:
        data = data.replace(b"\r\n", b"\n")
    return Records(data, lines, bad), [row for row in blanks if row.line > last]


def _drop_undecodable(block: _Block, data: bytes, good: np.ndarray) -> list[BadRow]:
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
