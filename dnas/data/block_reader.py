"""Files of text to blocks of values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dnas.data.ahead import Ahead
from dnas.data.columns import Block, convert
from dnas.data.file_source import JOINED
from dnas.data.frames import to_frame
from dnas.data.kernels import PADDING
from dnas.data.layout import DenseRule, Layout
from dnas.data.plain_rows import PlainReader, PlainRows
from dnas.data.records import Lines, TextFormat, split_plain
from dnas.data.text import Blanks, Records, check, read_lines, read_records
from dnas.data.user_profile import UserProfile
from dnas.data.vocabulary import hash_ids


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
        profile: What has the columns of the layout that the file has not, or None.
    """

    def __init__(
        self,
        path: Path,
        names: tuple[str, ...],
        text: TextFormat,
        layout: Layout,
        rule: DenseRule,
        buckets: int | None = None,
        profile: UserProfile | None = None,
    ) -> None:
        self._path, self._names, self._text = path, names, text
        self._layout, self._rule, self._buckets = layout, rule, buckets
        self._profile = profile
        joined = JOINED if profile is not None else ()
        self._columns = [name for name in layout.used if name not in joined]
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
        frame = to_frame(self._path, self._names, self._text, self._columns, records)
        if self._profile is not None:
            frame = self._profile.add(frame)
        block = convert(frame, records.lines, self._layout, self._rule)
        return dataclasses.replace(block, bad=[*records.bad, *block.bad])
