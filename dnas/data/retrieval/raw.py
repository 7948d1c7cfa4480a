"""Reading of the publishers' files, with errors that name file, line and value."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from dnas.data.bad_rows import shorten
from dnas.data.frames import to_frame
from dnas.data.records import TextFormat
from dnas.data.text import open_bytes, read_records
from dnas.errors import DataError

_SUFFIXES = ("", ".gz", ".zst", ".bz2", ".lz4")
#: Bytes of text read at a time.
BLOCK_BYTES = 8 << 20


def raw_file(folder: str | Path, name: str) -> Path:
    """The file of that name in a folder, compressed or not.

    Raises:
        DataError: There is no such folder or file.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise DataError(f"--raw_data={folder}: must be the folder with the publisher's files")
    for suffix in _SUFFIXES:
        path = root / (name + suffix)
        if path.is_file():
            return path
    raise DataError(
        f"--raw_data={folder}: there is no {name} (or {name}.gz, .zst, .bz2, .lz4) in it"
    )


def integer_columns(
    path: Path, separator: str, names: tuple[str, ...], used: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Columns of integers from a file without header.

    Args:
        path: The file.
        separator: One character, or one character twice.
        names: All columns.
        used: Those wanted, which must be integers that are not negative.

    Returns:
        ``(rows,)`` int64 for each wanted column, and the line of each row as ``lines``.

    Raises:
        DataError: A row has another number of fields, or a field is no such integer.
    """
    gaps = len(separator) - 1  # between two characters there is an empty field
    spread = [part for name in names for part in (name, *(f" after {name}" for _ in range(gaps)))]
    spread = spread[: len(spread) - gaps]
    text = TextFormat(separator[0], None, fields=len(spread), header=False)
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*used, "lines")}
    for records in read_records(path, text, block_bytes=BLOCK_BYTES):
        for bad in sorted(records.bad):
            raise DataError(f"{path}:{bad.line}: {bad.reason}")
        frame = to_frame(path, tuple(spread), text, spread, records)
        for name in set(spread) - set(names):
            filled = frame[name].is_not_null().arg_true()
            if len(filled):
                at = int(filled[0])
                raise DataError(
                    f"{path}:{records.lines[at]}: {shorten(frame[name][at])} between the "
                    f"characters of the separator {separator!r}"
                )
        for name in used:
            found[name].append(_integers(path, records.lines, name, frame[name]))
        found["lines"].append(records.lines)
    if not any(len(part) for part in found["lines"]):
        raise DataError(f"{path}: there are no rows in it")
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _integers(path: Path, lines: np.ndarray, name: str, column: pl.Series) -> np.ndarray:
    values = column.cast(pl.Int64, strict=False)
    wrong = (values.is_null() | (values < 0)).arg_true()
    if len(wrong):
        at = int(wrong[0])
        raise DataError(
            f"{path}:{lines[at]}: {name} is {shorten(column[at] or '')}, not an integer of at "
            "least 0"
        )
    return values.to_numpy()


def small_table(
    path: Path, separator: str, fields: int, *, encoding: str = "utf-8"
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each line of a file that fits in memory.

    Raises:
        DataError: A line has another number of fields, or is not text.
    """
    with open_bytes(path) as stream:
        data = stream.read()
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        value = shorten(data[max(error.start - 10, 0) : error.start + 10])
        raise DataError(f"{path}:{line}: not {encoding} text near {value}") from None
    lines = text.split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines, start=1):
        parts = line.rstrip("\r").split(separator)
        if len(parts) != fields:
            raise DataError(
                f"{path}:{number}: {len(parts)} fields where {fields} are expected: {shorten(line)}"
            )
        yield number, parts


def integer(path: Path, line: int, name: str, text: str) -> int:
    """A field that must be an integer of at least 0.

    Raises:
        DataError: It is not.
    """
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"{path}:{line}: {name} is {shorten(text)}, not an integer of at least 0")
    return int(text)


def one_of(path: Path, line: int, name: str, text: str, known: Collection[str]) -> str:
    """A field that must be one of a few words.

    Raises:
        DataError: It is not.
    """
    if text not in known:
        raise DataError(f"{path}:{line}: {name} is {shorten(text)}, not one of {', '.join(known)}")
    return text
