"""Blocks of text cut into records, with quotes.

Quoting follows RFC 4180: a field that begins with the quote character ends at the next lone one and
may hold separators, line ends and doubled quotes. A quote character anywhere else makes the row
malformed.
"""

from __future__ import annotations

import re

import numpy as np

from dnas.data.bad_rows import shorten
from dnas.data.records import NEWLINE, RawBlock, TextFormat, count_fields

#: A quoted field that goes on for longer than this was not meant to be one.
QUOTED_RECORD_BYTES = 1 << 20


def split_quoted(data: bytes, text: TextFormat, line: int, end: bool) -> RawBlock:
    """Find the whole records at the start of text.

    Args:
        data: Text.
        text: How it is written, with quotes.
        line: Line at which it begins.
        end: Whether nothing follows it.
    """
    block = _split_whole(data, text, line, end)
    return block if block is not None else _split_slowly(data, text, line, end)


def _split_whole(data: bytes, text: TextFormat, line: int, end: bool) -> RawBlock | None:
    """Block-wise, by counting quotes; None when the quotes do not fit."""
    assert text.quote is not None
    quote, separator = ord(text.quote), ord(text.separator)
    array = np.frombuffer(data, np.uint8)
    is_quote = array == quote
    outside = (np.cumsum(is_quote, dtype=np.int32) & 1) == 0
    newlines = np.flatnonzero(array == NEWLINE)
    real = newlines[outside[newlines]]
    used = int(real[-1]) + 1 if real.size else 0
    if len(data) - used > (0 if end else QUOTED_RECORD_BYTES):
        return None  # a quote is never closed
    quotes = np.flatnonzero(is_quote[:used])
    opening, closing = quotes[0::2], quotes[1::2]
    before = np.where(opening > 0, array[opening - 1], NEWLINE)
    after = array[closing + 1]  # a record ends with a line feed: there is a byte behind
    escaped = opening[1:] == closing[:-1] + 1
    fits_before = (before == separator) | (before == NEWLINE)
    fits_before[1:] |= escaped
    fits_after = (after == separator) | (after == NEWLINE) | (after == 13)
    fits_after[:-1] |= escaped
    if not (fits_before.all() and fits_after.all()):
        return None
    is_newline = array[:used] == NEWLINE
    marks = np.flatnonzero((is_newline | (array[:used] == separator)) & outside[:used])
    ends, separators = count_fields(marks, is_newline[marks])
    starts = np.concatenate(([0], ends[:-1])) if ends.size else ends
    if (ends - starts).max(initial=0) > QUOTED_RECORD_BYTES:
        return None
    inside = newlines[newlines < used]
    return RawBlock(
        data=data,
        starts=starts,
        ends=ends,
        separators=separators,
        lines=line + np.searchsorted(inside, starts),
        faults={},
        used=used,
        next_line=line + int(inside.size),
    )


def _split_slowly(data: bytes, text: TextFormat, line: int, end: bool) -> RawBlock:
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
    return RawBlock(
        data=data,
        starts=np.array(starts, dtype=np.int64),
        ends=np.array(ends, dtype=np.int64),
        separators=np.array(separators, dtype=np.int64),
        lines=np.array(lines, dtype=np.int64),
        faults=faults,
        used=position,
        next_line=line,
    )
