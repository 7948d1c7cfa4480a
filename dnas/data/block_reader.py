"""Blocks of text to blocks of values."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import polars as pl

from dnas.data.columns import Block, convert
from dnas.data.layout import DenseRule, Layout
from dnas.data.plain_rows import PlainReader, PlainRows
from dnas.data.records import TextFormat, split_plain
from dnas.data.text import Records
from dnas.errors import DataError


class BlockReader:
    """Reads the records of one file.

    A layout of plain integers has a reader of its own, which leaves the rows that are written in
    any other way to the general one. The result is the same.

    Args:
        path: The file, for messages.
        names: All its columns.
        text: How it is written.
        layout: What the columns are.
        rule: The transform of numbers.
    """

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        text: TextFormat,
        layout: Layout,
        rule: DenseRule,
    ) -> None:
        self._path, self._names, self._text = path, names, text
        self._layout, self._rule = layout, rule
        self._plain: PlainReader | None = None
        if text.quote is None and PlainReader.suits(layout):
            self._plain = PlainReader(names, layout, rule)

    def read(self, records: Records) -> Block:
        """Check and convert a block; its malformed rows include those of ``records``."""
        ends = self._field_ends(records)
        if self._plain is None or ends is None:
            block = self._convert(records)
        else:
            block = self._mend(self._plain.read(records.data, ends), records, ends)
        return dataclasses.replace(block, bad=[*records.bad, *block.bad])

    def _field_ends(self, records: Records) -> np.ndarray | None:
        """Positions of the ends of all fields; None where only the general reader will do."""
        if self._plain is None or not records.lines.size or not records.data.isascii():
            return None
        if records.field_ends is not None:
            return records.field_ends
        return split_plain(records.data, self._text, 1).field_ends

    def _mend(self, rows: PlainRows, records: Records, ends: np.ndarray) -> Block:
        """Have the general reader read the rows that are not plain."""
        kept = rows.plain
        if kept.all():
            return Block(rows.labels, rows.dense, rows.keys, None, [], kept)
        odd = np.flatnonzero(~kept)
        last = ends[:, -1] + 1
        first = np.concatenate(([0], last[:-1]))
        pieces = zip(first[odd].tolist(), last[odd].tolist(), strict=True)
        data = b"".join(records.data[start:stop] for start, stop in pieces)
        block = self._convert(Records(data, records.lines[odd], []))
        places = odd[block.kept]
        rows.labels[places] = block.labels
        rows.dense[places] = block.dense
        rows.keys[places] = block.sparse
        kept[places] = True
        return Block(rows.labels[kept], rows.dense[kept], rows.keys[kept], None, block.bad, kept)

    def _convert(self, records: Records) -> Block:
        frame = self._parse(records)
        return convert(frame, records.lines, self._layout, self._rule)

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
