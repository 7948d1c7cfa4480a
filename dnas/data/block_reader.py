"""Files of text to blocks of values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from dnas.data.ahead import Ahead
from dnas.data.columns import Block, convert
from dnas.data.kernels import PADDING
from dnas.data.layout import DenseRule, Layout
from dnas.data.plain_rows import PlainReader, PlainRows
from dnas.data.records import Lines, TextFormat, split_plain
from dnas.data.text import Blanks, Records, check, read_lines, read_records
from dnas.data.vocabulary import hash_ids
from dnas.errors import DataError


class BlockReader:
    """Reads one file.

    Rows of plain integers have a reader of their own, which leaves the rows that are written in any
    other way to the general one. The result is the same.

    Args:
        path: The file.
        names: All its columns.
        text: How it is written.
        layout: What the columns are.
        rule: The transform of numbers.
        buckets: Of hashed ids, which are made here where that is faster; None: there are none.
    """

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        text: TextFormat,
        layout: Layout,
        rule: DenseRule,
        buckets: int | None = None,
    ) -> None:
        self._path, self._names, self._text = path, names, text
        self._layout, self._rule, self._buckets = layout, rule, buckets
        self._plain: PlainReader | None = None
        if not text.header and PlainReader.suits(names, text, layout):
            self._plain = PlainReader(text, layout, rule, buckets)

    def read(self, block_bytes: int) -> Iterator[Block]:
        """Check and convert the file in blocks of so many bytes, which are read by a thread."""
        if self._plain is None:
            records = read_records(self._path, self._text, block_bytes=block_bytes)
            with Ahead(records) as parts:
                for part in parts:
                    yield self._convert(part)
            return
        lines = read_lines(self._path, self._text, block_bytes=block_bytes, padding=PADDING)
        blanks = Blanks()
        with Ahead(lines) as pieces:
            for piece in pieces:
                block = self._mend(piece, self._plain.read(piece), blanks)
                if block is not None:
                    yield block

    def _mend(self, lines: Lines, rows: PlainRows, blanks: Blanks) -> Block | None:
        """Have the general reader read the rows that are not plain."""
        kept = rows.plain
        odd = np.flatnonzero(~kept)
        first = np.concatenate(([0], rows.ends[:-1]))[odd]
        pieces = zip(first.tolist(), rows.ends[odd].tolist(), strict=True)
        data = b"".join(lines.data[start:stop] for start, stop in pieces)
        split = split_plain(data, self._text, 1)
        split = dataclasses.replace(split, lines=lines.line + odd)
        plain = np.flatnonzero(kept)
        last = lines.line + int(plain[-1]) if plain.size else 0
        records = blanks.hold(check(split, self._text, False, last), bool(plain.size))
        if records is None:
            return None
        if not odd.size:
            return Block(rows.labels, rows.dense, rows.sparse, None, records.bad, kept)
        block = self._convert(records)
        assert isinstance(block.sparse, np.ndarray)
        places = (records.lines - lines.line)[block.kept]
        rows.labels[places] = block.labels
        rows.dense[places] = block.dense
        rows.sparse[places] = (
            block.sparse if self._buckets is None else hash_ids(block.sparse, self._buckets)
        )
        kept[places] = True
        return Block(rows.labels[kept], rows.dense[kept], rows.sparse[kept], None, block.bad, kept)

    def _convert(self, records: Records) -> Block:
        frame = self._parse(records)
        block = convert(frame, records.lines, self._layout, self._rule)
        return dataclasses.replace(block, bad=[*records.bad, *block.bad])

    def _parse(self, records: Records) -> pl.DataFrame:
        """The used columns of a block of text, as strings."""
        used, text = self._layout.used, self._text
        if not records.lines.size:
            return pl.DataFrame(schema={name: pl.String for name in used})
        frame = pl.read_csv(
            records.data,
            has_header=False,
            separator=text.separator,
            quote_char=text.quote,
            schema=dict.fromkeys(self._names, pl.String),
            columns=[self._names.index(name) for name in used],
        )
        if frame.height != records.lines.size:
            raise DataError(
                f"{self._path}:{records.lines[0]}: {records.lines.size} records from here on are "
                f"read as {frame.height}: check the quotes and the separator {text.separator!r}"
            )
        return frame
