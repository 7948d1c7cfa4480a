"""The text files that AutoCTR and NASRec train on, byte for byte as their scripts write them.

Rows keep the order of the raw files. They go to ``train.txt``, ``val.txt`` and ``test.txt`` by the
folds of :mod:`dnas.data.folds`; ``trainval.txt`` is the first of these, then the second. Fields are
between tabs: the label, the numbers, the categories as 8 hexadecimal digits modulo 2**31 - 1.
Criteo's lines have this form already and are copied. Avazu has no number; its scripts write -1.

Two passes: labels, a byte each; then the rows, block by block.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from dnas.data.ahead import Ahead
from dnas.data.bad_rows import BadRow, BadRowPolicy
from dnas.data.columns import Block, convert, text_buffers
from dnas.data.file_source import FileSource, is_parquet
from dnas.data.folds import autoctr_parts
from dnas.data.frames import read_frames
from dnas.data.keys import MISSING_KEY
from dnas.data.layout import Layout
from dnas.data.parsing import read_blocks, read_profile, text_format
from dnas.data.records import NEWLINE
from dnas.data.store import PART_CODES
from dnas.data.text import Records, read_records
from dnas.data.user_profile import UserProfile
from dnas.errors import DataError

logger = logging.getLogger(__name__)

TRAIN, VALIDATION, TEST, TRAINVAL = "train.txt", "val.txt", "test.txt", "trainval.txt"
_CODES = {
    TRAIN: PART_CODES["train"],
    VALIDATION: PART_CODES["validation"],
    TEST: PART_CODES["test"],
}
#: MD5 of each file as NASRec publishes it: with the scripts' mistake for Criteo and KDD Cup 2012.
PUBLISHED_MD5 = {
    "criteo_kaggle": {
        TRAIN: "4b8757a78fdb260f6ae9b72e05dca400",
        VALIDATION: "91b0ff0a10d7a0cd2a6d59da9e5900b9",
        TEST: "5d8fea15e6f9c48a0a64b4a5bf971cc4",
        TRAINVAL: "acba0de85545c95a022d7c54aa9e8a8e",
    },
    "avazu": {
        TRAIN: "4cbec9323c975209b64a8403b2151ec7",
        VALIDATION: "445bc4a44216c15c1b953523e0b0bc35",
        TEST: "18bf7ba03d014d5661b9d8de1c0cbafe",
        TRAINVAL: "c47e4cba6b6945507ea754e2cf352578",
    },
    "kdd2012_track2": {
        TRAIN: "eec7bb5bec894b42145cc9d0d0d624d0",
        VALIDATION: "c44da6a57501b812cc55997893276a66",
        TEST: "4cdfb93e36784d8e39ac00ac6e36a727",
        TRAINVAL: "0d309f16f95bded40456f63735ee6534",
    },
}

_CHUNK_BYTES = 16 << 20
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)


class WrittenFile(NamedTuple):
    """What is in a file: rows, and the MD5 of its bytes in hexadecimal digits."""

    rows: int
    md5: str


class Lines(NamedTuple):
    """Whole lines of text.

    Attributes:
        data: uint8 text.
        lengths: ``(rows,)`` int64 bytes of each line, its line feed included.
    """

    data: np.ndarray
    lengths: np.ndarray


def write_autoctr_files(
    source: FileSource, folder: Path, *, off_by_one: bool, trainval: bool = False
) -> dict[str, WrittenFile]:
    """Write the files into a new folder, which is there only when all of them are whole.

    Args:
        source: Raw files of a data set in :data:`PUBLISHED_MD5`.
        folder: Must not exist, or be empty.
        off_by_one: With the mistake of the released scripts, see :mod:`dnas.data.folds`.
        trainval: Whether to write ``trainval.txt``, too.

    Returns:
        What is in each file, by its name.

    Raises:
        DataError: The folder has something in it or cannot be written, or a raw file cannot be
            read, has a malformed row, or has too few rows.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"--out={folder}: is there and not an empty folder: name another one")
    for path in source.files:
        if is_parquet(path):
            raise DataError(f"{path}: only text can be written as text; see --raw_data")
    folder = folder.absolute()
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.mkdir(parents=True)
        parts = autoctr_parts(_read_labels(source), off_by_one=off_by_one)
        written = _write_rows(source, parts, temporary)
        if trainval:
            written[TRAINVAL] = _append(temporary, written)
        os.rename(temporary, folder)
    except OSError as error:
        raise DataError(f"--out={folder}: cannot be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return written


def _read_labels(source: FileSource) -> np.ndarray:
    """``(rows,)`` uint8 labels of all files."""
    layout = dataclasses.replace(source.layout, dense=(), sparse=(), zeros=())
    only_labels = dataclasses.replace(source, layout=layout, user_profile=None)
    policy = BadRowPolicy("error", "mend the file")
    labels = []
    for path in source.files:
        with Ahead(read_blocks(only_labels, path, None)) as blocks:
            for block in blocks:
                policy.report(path, block.bad)
                labels.append(block.labels)
    result = np.concatenate(labels) if labels else np.zeros(0, dtype=np.uint8)
    logger.info("%d rows, label rate %.4f", result.size, result.mean() if result.size else 0.0)
    return result


class _Output:
    """A file that is written from start to end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._digest = hashlib.md5(usedforsecurity=False)
        self.rows = 0

    def __enter__(self) -> _Output:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, data: bytes, rows: int) -> None:
        """Append so many rows."""
        self._file.write(data)
        self._digest.update(data)
        self.rows += rows

    def finish(self) -> WrittenFile:
        """Bring everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return WrittenFile(self.rows, self._digest.hexdigest())


def _write_rows(source: FileSource, parts: np.ndarray, folder: Path) -> dict[str, WrittenFile]:
    profile = read_profile(source)
    row = 0
    with ExitStack() as stack:
        outputs = {name: stack.enter_context(_Output(folder / name)) for name in _CODES}
        for path in source.files:
            with Ahead(_lines(source, path, profile)) as blocks:
                for lines in blocks:
                    here = parts[row : row + lines.lengths.size]
                    row += lines.lengths.size
                    if here.size != lines.lengths.size:
                        break
                    for name, code in _CODES.items():
                        chosen = here == code
                        data = lines.data[np.repeat(chosen, lines.lengths)]
                        outputs[name].write(data.tobytes(), int(chosen.sum()))
        if row != parts.size:
            raise DataError(f"{source.files[0]}: a raw file changed while it was read: start again")
        for name, output in outputs.items():
            if not output.rows:
                raise DataError(f"{source.files[0]}: {row} rows are too few: {name} has none")
        return {name: output.finish() for name, output in outputs.items()}


def _append(folder: Path, written: dict[str, WrittenFile]) -> WrittenFile:
    """Write ``trainval.txt``."""
    with _Output(folder / TRAINVAL) as output:
        for name in (TRAIN, VALIDATION):
            with (folder / name).open("rb") as file:
                while data := file.read(_CHUNK_BYTES):
                    output.write(data, 0)
            output.rows += written[name].rows
        return output.finish()


def _lines(source: FileSource, path: Path, profile: UserProfile | None) -> Iterator[Lines]:
    """The lines that the rows of a file become."""
    names, text = text_format(source, path)
    policy = BadRowPolicy("error", "mend the file")
    if not source.layout.residues:
        for records in read_records(path, text, block_bytes=source.block_bytes):
            policy.report(path, records.bad)
            yield _copied(records)
        return
    columns = source.file_columns
    for records, frame in read_frames(path, names, text, columns, block_bytes=source.block_bytes):
        whole = frame if profile is None else profile.add(frame)
        block = convert(whole, records.lines, source.layout, source.rule)
        missing = _missing(whole, records.lines, block, source.layout)
        policy.report(path, [*records.bad, *block.bad, *missing])
        yield _written(whole, block, source.layout)


def _copied(records: Records) -> Lines:
    data = np.frombuffer(records.data, np.uint8)
    ends = np.flatnonzero(data == NEWLINE) + 1
    return Lines(data, np.diff(ends, prepend=0))


def _missing(frame: pl.DataFrame, lines: np.ndarray, block: Block, layout: Layout) -> list[BadRow]:
    """The scripts have no way to write a missing category."""
    assert isinstance(block.sparse, np.ndarray)
    rows, features = np.nonzero(block.sparse == MISSING_KEY)
    numbers = lines[block.kept]
    return [
        BadRow(int(numbers[row]), f"column {layout.sparse[feature]} is empty")
        for row, feature in zip(rows.tolist(), features.tolist(), strict=True)
    ]


def _written(frame: pl.DataFrame, block: Block, layout: Layout) -> Lines:
    """Lines of rows without fault."""
    assert isinstance(block.sparse, np.ndarray)
    fields = [
        pl.Series(layout.label, block.labels).cast(pl.String),
        *(frame[name].fill_null("") for name in layout.dense),
        *(pl.lit("-1").alias(name) for name in layout.zeros),
        hexadecimal_fields(block.sparse),
    ]
    lines = pl.select(pl.concat_str(fields, separator="\t")).to_series()
    data, offsets = text_buffers(lines)
    return Lines(data, np.diff(offsets))


def hexadecimal_fields(keys: np.ndarray) -> pl.Series:
    """The end of each line: 8 digits for each key, with tabs between them and a line feed.

    Args:
        keys: ``(rows, F)`` uint64 below 2**32.
    """
    rows, features = keys.shape
    text = np.full((rows, features, 9), ord("\t"), dtype=np.uint8)
    text[:, -1, 8] = NEWLINE
    for place in range(8):
        text[:, :, place] = _DIGITS[(keys >> np.uint64(28 - 4 * place)) & np.uint64(15)]
    offsets = np.arange(rows + 1, dtype=np.int64) * (9 * features)
    array = pa.LargeStringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(text))
    series = pl.from_arrow(array)
    assert isinstance(series, pl.Series)
    return series.alias("categories")
