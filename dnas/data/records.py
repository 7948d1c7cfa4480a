"""Blocks of text cut into records, without quotes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dnas.data.kernels import count_lines

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
    """

    data: bytes
    starts: np.ndarray
    ends: np.ndarray
    separators: np.ndarray
    lines: np.ndarray
    faults: dict[int, str]
    used: int
    next_line: int


@dataclass(frozen=True)
class Lines:
    """Whole lines, which are records, of text without quotes; not yet looked into.

    Attributes:
        data: Text, the lines first. There are some bytes behind them.
        used: Bytes that the lines take up.
        rows: Number of lines.
        line: Number of the first one.
    """

    data: bytes
    used: int
    rows: int
    line: int

    @property
    def next_line(self) -> int:
        """Number of the line behind the last one."""
        return self.line + self.rows


def cut_lines(data: bytes, line: int, padding: int) -> Lines:
    """Take the whole lines at the start of text.

    Args:
        data: Text.
        line: Number of its first line.
        padding: Bytes there must be behind the lines.
    """
    used = data.rfind(b"\n") + 1
    rows = count_lines(np.frombuffer(data, np.uint8), used)
    if len(data) - used < padding:
        data += bytes(padding)
    return Lines(data, used, rows, line)


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
    ends, separators = count_fields(marks, is_newline[marks])
    return RawBlock(
        data=data,
        starts=np.concatenate(([0], ends[:-1])) if ends.size else ends,
        ends=ends,
        separators=separators,
        lines=line + np.arange(ends.size),
        faults={},
        used=used,
        next_line=line + int(ends.size),
    )


def count_fields(marks: np.ndarray, is_end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of records, and the separators in each.

    Args:
        marks: Ascending positions of all separators and record ends; the last is an end.
        is_end: Which of them are ends.
    """
    rank = np.flatnonzero(is_end)
    return marks[rank] + 1, np.diff(rank, prepend=-1) - 1
