"""Raw files to a store: read, convert, number the categories, write. One pass, bounded memory."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dnas.data.ahead import Ahead
from dnas.data.bad_rows import BadRowPolicy
from dnas.data.columns import Block, DenseRule, Layout, convert
from dnas.data.raw_files import stamp
from dnas.data.spec import DataSpec
from dnas.data.store import StoreWriter
from dnas.data.text import BLOCK_BYTES, Records, TextFormat, read_header, read_records
from dnas.data.vocabulary import Encoder, HashEncoder, VocabularyEncoder
from dnas.errors import DataError

logger = logging.getLogger(__name__)

_PARQUET_ROWS = 1 << 16
_REPORT_SECONDS = 30.0


@dataclass(frozen=True)
class IdRule:
    """How values become ids, see :mod:`dnas.data.vocabulary`."""

    kind: Literal["vocabulary", "hash"] = "vocabulary"
    buckets: int = 0
    min_count: int = 1

    def encoder(self) -> Encoder:
        """A new encoder for one feature."""
        if self.kind == "hash":
            return HashEncoder(self.buckets)
        return VocabularyEncoder(self.min_count)


@dataclass(frozen=True)
class FileSource:
    """Raw files of one layout.

    Attributes:
        data_set: Name of the data set.
        files: The files, in row order. Parquet by suffix, delimited text otherwise.
        layout: What their columns are.
        rule: Transform of numbers.
        ids: How values become ids.
        separator: Between fields of text.
        quote: Around fields of text, or None.
        names: Column names of text without header, or None: the first line has them.
        file_parts: Part code of all rows of each file, or None.
        on_bad_row: What to do with malformed rows.
        stamps: What identifies the content of the files, in place of their names, sizes and times.
        block_bytes: Bytes of text read at a time; does not change the result.
    """

    data_set: str
    files: tuple[Path, ...]
    layout: Layout
    rule: DenseRule
    ids: IdRule
    separator: str = ","
    quote: str | None = None
    names: tuple[str, ...] | None = None
    file_parts: tuple[int, ...] | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    stamps: tuple[Any, ...] | None = None
    block_bytes: int = BLOCK_BYTES

    @property
    def has_parts(self) -> bool:
        """Whether rows come with the part of the split they belong to."""
        return self.layout.part is not None or self.file_parts is not None

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Numeric columns."""
        return self.layout.dense

    @property
    def sparse_names(self) -> tuple[str, ...]:
        """Categorical columns."""
        return self.layout.sparse

    def identity(self) -> dict[str, Any]:
        """Everything that the content of the store depends on, as JSON."""
        return {
            "sources": list(self.stamps or [stamp(path) for path in self.files]),
            "layout": dataclasses.asdict(self.layout),
            "dense": dataclasses.asdict(self.rule),
            "ids": dataclasses.asdict(self.ids),
            "separator": self.separator,
            "quote": self.quote,
            "names": list(self.names) if self.names is not None else None,
            "file_parts": list(self.file_parts) if self.file_parts is not None else None,
            "on_bad_row": self.on_bad_row,
        }

    def write(self, writer: StoreWriter) -> None:
        """Read all files and write the store.

        Raises:
            DataError: A file cannot be read, a row is malformed, or there is no row at all.
        """
        policy = BadRowPolicy(self.on_bad_row)
        encoders = [self.ids.encoder() for _ in self.layout.sparse]
        start = reported = time.monotonic()
        for number, path in enumerate(self.files):
            before = writer.rows
            with Ahead(self._blocks(path)) as blocks:
                for block in blocks:
                    policy.report(path, block.bad)
                    ids = np.empty((block.labels.size, len(encoders)), dtype=np.int32)
                    for feature, encoder in enumerate(encoders):
                        ids[:, feature] = encoder.encode(block.sparse[feature])
                    parts = block.parts
                    if self.file_parts is not None:
                        parts = np.full(block.labels.size, self.file_parts[number], dtype=np.uint8)
                    writer.append(block.labels, block.dense, ids, parts)
                    if time.monotonic() - reported > _REPORT_SECONDS:
                        reported = time.monotonic()
                        speed = writer.rows / (reported - start)
                        logger.info("%s: %d rows, %.0f a second", path, writer.rows, speed)
            if writer.rows == before:
                skipped = f" ({policy.count} malformed rows skipped)" if policy.count else ""
                raise DataError(f"{path}: no rows{skipped}; see --raw_data")
        writer.remap_ids([encoder.remap() for encoder in encoders])
        if policy.count:
            logger.warning(
                "%d malformed rows were skipped, %d kept (--on_bad_row=skip)",
                policy.count,
                writer.rows,
            )
        writer.finish(
            data_set=self.data_set,
            spec=DataSpec(
                self.layout.dense,
                self.layout.sparse,
                tuple(encoder.cardinality for encoder in encoders),
            ),
            identity=self.identity(),
            skipped_rows=policy.count,
            skipped_examples=policy.examples,
        )

    def _blocks(self, path: Path) -> Iterator[Block]:
        if path.suffix.lower() in (".parquet", ".pq"):
            yield from self._parquet_blocks(path)
            return
        names, text = self._text_format(path)
        self._check_columns(path, names)
        with Ahead(read_records(path, text, block_bytes=self.block_bytes)) as parts:
            for records in parts:
                frame = _parse(path, records, names, text, self.layout)
                block = convert(frame, records.lines, self.layout, self.rule)
                yield dataclasses.replace(block, bad=[*records.bad, *block.bad])

    def _text_format(self, path: Path) -> tuple[tuple[str, ...], TextFormat]:
        text = TextFormat(self.separator, self.quote, fields=0, header=self.names is None)
        names = self.names if self.names is not None else tuple(read_header(path, text))
        return names, dataclasses.replace(text, fields=len(names))

    def _parquet_blocks(self, path: Path) -> Iterator[Block]:
        try:
            with pq.ParquetFile(path) as file:
                schema = file.schema_arrow
                self._check_columns(path, schema.names)
                used = list(self.layout.used)
                for name in used:
                    _check_parquet_type(path, name, schema.field(name).type)
                row = 1
                for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=used):
                    frame = pl.from_arrow(batch)
                    assert isinstance(frame, pl.DataFrame)
                    lines = row + np.arange(frame.height)
                    row += frame.height
                    yield convert(frame, lines, self.layout, self.rule)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
            raise DataError(f"{path}: not a Parquet file that can be read ({error})") from None

    def _check_columns(self, path: Path, names: Sequence[str]) -> None:
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        if repeated:
            raise DataError(f"{path}:1: column names appear more than once: {repeated}")
        for name in self.layout.used:
            if name not in names:
                raise DataError(
                    f"{path}: there is no column {name!r}; the columns are {', '.join(names)}"
                )


def _check_parquet_type(path: Path, name: str, kind: pa.DataType) -> None:
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise DataError(
            f"{path}: column {name!r} has type {kind}; numbers, texts and booleans can be read"
        )


def _parse(
    path: Path, records: Records, names: tuple[str, ...], text: TextFormat, layout: Layout
) -> pl.DataFrame:
    """The used columns of a block of text, as strings."""
    if not records.lines.size:
        return pl.DataFrame(schema={name: pl.String for name in layout.used})
    frame = pl.read_csv(
        records.data,
        has_header=False,
        separator=text.separator,
        quote_char=text.quote,
        schema=dict.fromkeys(names, pl.String),
        columns=[names.index(name) for name in layout.used],
    )
    if frame.height != records.lines.size:
        raise DataError(
            f"{path}:{records.lines[0]}: {records.lines.size} records from here on are read as "
            f"{frame.height}: check the quotes and the separator {text.separator!r}"
        )
    return frame
