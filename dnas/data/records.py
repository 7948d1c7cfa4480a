"""Blocks of text cut into records, without quotes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEWLINE = 10


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
class RawBlock:
    """Whole records of ``data``: record i is ``data[starts[i]:ends[i]]``, line end included.

    Attributes:
        data: Text.
        starts: ``(records,)`` int64.
        ends: ``(records,)`` int64.
        separators: ``(records,)`` separators in each, -1 for a faulty one.
        lines: ``(records,)`` line at which each begins.
        faults: What is wrong with a faulty record.
        used: Bytes of ``data`` that records take up.
        next_line: Line behind the last record.
        field_ends: ``(records, fields)`` positions of the ends of all fields; None when some record
            has another number of fields.
    """

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    separators: np.ndarray
    lines: np.ndarray
    faults: dict[int, str]
    used: int
    next_line: int
    field_ends: np.ndarray | None = None


def split_plain(data: bytes, text: TextFormat, line: int) -> RawBlock:
    """Find the whole records at the start of text without quotes.

    Args:
        data: Text.
        text: How it is written.
        line: Line at which it begins.
    """
    used = data.rfind(b"\n") + 1
    array = np.frombuffer(data, np.uint8, count=used)
    is_newline = array == NEWLINE
    is_mark = array == ord(text.separator)
    is_mark |= is_newline
    marks = np.flatnonzero(is_mark)
    ends, separators, field_ends = count_fields(marks, is_newline[marks], text.fields)
    return RawBlock(
        data=data,
        starts=np.concatenate(([0], ends[:-1])) if ends.size else ends,
        ends=ends,
        separators=separators,
        lines=line + np.arange(ends.size),
        faults={},
        used=used,
        next_line=line + int(ends.size),
        field_ends=field_ends,
    )


def count_fields(
    marks: np.ndarray, is_end: np.ndarray, fields: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Ends of records, the separators in each, and ``RawBlock.field_ends``.

    Args:
        marks: Ascending positions of all separators and record ends; the last is an end.
        is_end: Which of them are ends.
        fields: How many fields most records have.
    """
    if marks.size % fields == 0:
        table = is_end.reshape(-1, fields)
        if table[:, -1].all() and np.count_nonzero(is_end) == table.shape[0]:
            field_ends = marks.reshape(-1, fields)
            return field_ends[:, -1] + 1, np.full(table.shape[0], fields - 1), field_ends
    rank = np.flatnonzero(is_end)
    return marks[rank] + 1, np.diff(rank, prepend=-1) - 1, None
