"""Raw files to a store: read, convert, number the categories, write. One pass, bounded memory."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from dnas.data.ahead import Ahead
from dnas.data.bad_rows import BadRowPolicy
from dnas.data.block_reader import BlockReader
from dnas.data.columns import Block, convert
from dnas.data.file_source import FileSource, is_parquet
from dnas.data.records import TextFormat
from dnas.data.spec import DataSpec
from dnas.data.store_writer import StoreWriter
from dnas.data.text import read_header
from dnas.data.user_profile import UserProfile, read_user_profile
from dnas.data.vocabulary import make_encoder
from dnas.errors import DataError

logger = logging.getLogger(__name__)

_PARQUET_ROWS = 1 << 16
_REPORT_SECONDS = 30.0


def write_store(source: FileSource, writer: StoreWriter) -> None:
    """Read all files of a source and write the store.

    Args:
        source: The files.
        writer: Is finished, too.

    Raises:
        DataError: A file cannot be read, a row is malformed, or there is no row at all.
    """
    policy = BadRowPolicy(source.on_bad_row)
    encoder = make_encoder(source.ids, len(source.layout.sparse))
    profile = read_profile(source)
    start = reported = time.monotonic()
    for number, path in enumerate(source.files):
        before = writer.rows
        with Ahead(read_blocks(source, path, profile)) as blocks:
            for block in blocks:
                policy.report(path, block.bad)
                ids = encoder.encode(block.sparse)
                parts = block.parts
                if source.file_parts is not None:
                    parts = np.full(block.labels.size, source.file_parts[number], dtype=np.uint8)
                writer.append(block.labels, block.dense, ids, parts)
                if time.monotonic() - reported > _REPORT_SECONDS:
                    reported = time.monotonic()
                    speed = writer.rows / (reported - start)
                    logger.info("%s: %d rows, %.0f a second", path, writer.rows, speed)
        if writer.rows == before:
            skipped = f" ({policy.count} malformed rows skipped)" if policy.count else ""
            raise DataError(f"{path}: no rows{skipped}; see --raw_data")
    writer.remap_ids(encoder.remap())
    if policy.count:
        logger.warning(
            "%d malformed rows were skipped, %d kept (--on_bad_row=skip)",
            policy.count,
            writer.rows,
        )
    writer.finish(
        data_set=source.data_set,
        spec=DataSpec(source.dense_names, source.sparse_names, encoder.cardinalities),
        identity=source.identity(),
        skipped_rows=policy.count,
        skipped_examples=policy.examples,
    )


def read_profile(source: FileSource) -> UserProfile | None:
    """The users of a source that has them in a file of their own."""
    if source.user_profile is None:
        return None
    return read_user_profile(source.user_profile, source.on_bad_row, block_bytes=source.block_bytes)


def read_blocks(source: FileSource, path: Path, profile: UserProfile | None) -> Iterator[Block]:
    """One file of a source, with the profile of that source."""
    if is_parquet(path):
        yield from _parquet_blocks(source, path, profile)
        return
    names, text = text_format(source, path)
    buckets = source.ids.buckets if source.ids.kind == "hash" else None
    reader = BlockReader(path, names, text, source.layout, source.rule, buckets, profile)
    yield from reader.read(source.block_bytes)


def text_format(source: FileSource, path: Path) -> tuple[tuple[str, ...], TextFormat]:
    """Names of all columns of a file of text, and how it is written.

    Raises:
        DataError: A column of the source is not in it, or it has one twice.
    """
    text = TextFormat(source.separator, source.quote, fields=0, header=source.names is None)
    names = source.names if source.names is not None else tuple(read_header(path, text))
    _check_columns(path, names, source)
    return names, dataclasses.replace(text, fields=len(names))


def _parquet_blocks(source: FileSource, path: Path, profile: UserProfile | None) -> Iterator[Block]:
    try:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            _check_columns(path, schema.names, source)
            used = list(source.file_columns)
            for name in used:
                _check_parquet_type(path, name, schema.field(name).type)
            row = 1
            for batch in file.iter_batches(batch_size=_PARQUET_ROWS, columns=used):
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                lines = row + np.arange(frame.height)
                row += frame.height
                if profile is not None:
                    frame = profile.add(frame)
                yield convert(frame, lines, source.layout, source.rule)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise DataError(f"{path}: not a Parquet file that can be read ({error})") from None


def _check_columns(path: Path, names: Sequence[str], source: FileSource) -> None:
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise DataError(f"{path}:1: column names appear more than once: {repeated}")
    for name in source.file_columns:
        if name not in names:
            raise DataError(
                f"{path}: there is no column {name!r}; the columns are {', '.join(names)}"
            )


def _check_parquet_type(path: Path, name: str, kind: pa.DataType) -> None:
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        raise DataError(
            f"{path}: column {name!r} has type {kind}; numbers, texts and booleans can be read"
        )
