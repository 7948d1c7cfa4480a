"""What to do with a row that cannot be read: stop at it, or count it and go on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from dnas.errors import DataError

logger = logging.getLogger(__name__)

#: Skipped rows that are logged one by one and kept in the manifest; the others are only counted.
EXAMPLES = 5


class BadRow(NamedTuple):
    """One malformed row.

    Attributes:
        line: Line of the file at which the row begins, from 1 (row number for Parquet).
        reason: What is wrong with it, with column and value.
    """

    line: int
    reason: str


def shorten(value: object, limit: int = 80) -> str:
    """``repr`` of a value from a data file, cut to a length that fits a message."""
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


@dataclass
class BadRowPolicy:
    """Counts malformed rows, or raises at the first.

    Attributes:
        mode: "error" or "skip".
        advice: What to do about an error.
        count: Rows reported so far.
        examples: The first few of them, as "file:line: reason".
    """

    mode: Literal["error", "skip"] = "error"
    advice: str = "mend the file, or use --on_bad_row=skip"
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def report(self, path: Path, rows: Sequence[BadRow]) -> None:
        """Take the malformed rows of one part of a file.

        Raises:
            DataError: The mode is "error" and there is one; the message names the first.
        """
        for row in sorted(rows):
            text = f"{path}:{row.line}: {row.reason}"
            if self.mode == "error":
                raise DataError(f"{text}; {self.advice}")
            self.count += 1
            if len(self.examples) < EXAMPLES:
                self.examples.append(text)
                logger.warning("skipped a malformed row: %s", text)
