"""Numbers, durations and lines for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def compact(value: float) -> str:
    """A cost in four significant digits: ``1.24 M``, ``79.54``, ``1,460``."""
    if not math.isfinite(value):
        return "-" if math.isnan(value) else str(value)
    if value == round(value) and abs(value) < 10_000:
        return f"{value:,.0f}"
    for size, suffix in _SUFFIXES:
        # 9,999.6 would round to a fifth digit below: give it to the larger suffix.
        if abs(value) >= 0.99995 * size * (10 if size == 1e3 else 1):
            return f"{value / size:.4g} {suffix}"
    return f"{value:.4g}"


def fixed(value: float, digits: int = 5) -> str:
    """A metric with a fixed number of decimals, ``-`` when it is missing.

    One of a hundred or more, such as a squared error, has six significant digits instead.
    """
    if not math.isfinite(value):
        return "-"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.6g}"


def duration(seconds: float) -> str:
    """``8 s``, ``5 min 3 s``, ``1 h 12 min`` or ``2 d 3 h``."""
    s = round(max(seconds, 0.0))
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60} min {s % 60} s"
    if s < 86_400:
        return f"{s // 3600} h {s % 3600 // 60} min"
    return f"{s // 86_400} d {s % 86_400 // 3600} h"


def shorten(text: str, width: int) -> str:
    """``text`` on one line of at most ``width`` characters, its middle left out if need be."""
    line = " ".join(text.split())
    if len(line) <= width:
        return line
    head = width // 2
    tail = width - 1 - head
    return line[:head] + "…" + (line[-tail:] if tail else "")


def cut(text: str, width: int) -> str:
    """``text`` without what goes beyond ``width`` characters; spaces inside are kept."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def columns(rows: Sequence[Sequence[str]], *, indent: int = 2, gap: int = 2) -> list[str]:
    """Lines of a table: the first column to the left, all others to the right."""
    if not rows:
        return []
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append((" " * indent + (" " * gap).join(cells)).rstrip())
    return lines


def plural(count: int, noun: str) -> str:
    """``1 job``, ``3 jobs``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
