"""Stores are built once, see :mod:`dnas.data.once`.

The folder's name has a hash of everything the content depends on, so another option or a changed
file is another store.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from pathlib import Path
from typing import Any, Protocol

from dnas.data.once import build_once
from dnas.data.store import FORMAT, MANIFEST, Store
from dnas.data.store_writer import StoreWriter
from dnas.errors import DataError

logger = logging.getLogger(__name__)


class Source(Protocol):
    """Something a store can be built from."""

    @property
    def data_set(self) -> str:
        """Name of the data set."""

    @property
    def dense_names(self) -> tuple[str, ...]:
        """Numeric columns."""

    @property
    def sparse_names(self) -> tuple[str, ...]:
        """Categorical columns."""

    @property
    def has_parts(self) -> bool:
        """Whether rows come with the part of the split they belong to."""

    def identity(self) -> dict[str, Any]:
        """Everything that the content depends on, as JSON."""

    def write(self, writer: StoreWriter) -> None:
        """Append all rows and finish the writer."""


def store_folder(source: Source, cache: str | Path) -> Path:
    """Where the store of ``source`` is, or would be."""
    identity = {"format": FORMAT, "data_set": source.data_set, **source.identity()}
    text = json.dumps(identity, sort_keys=True)
    return Path(cache) / f"{source.data_set}-{hashlib.blake2b(text.encode()).hexdigest()[:12]}"


def open_or_build(source: Source, cache: str | Path, *, memory_map: bool = True) -> Store:
    """Open the store of ``source`` in the folder ``cache``; build it first if it is not there.

    Raises:
        DataError: The raw data cannot be used, it changed while it was read, or ``cache`` cannot
            be written.
    """
    final = store_folder(source, cache)
    build_once(final, MANIFEST, lambda folder: _build(source, final, folder))
    return Store.open(final, memory_map=memory_map)


def _build(source: Source, final: Path, folder: Path) -> None:
    start = time.monotonic()
    logger.info("%s: building the data store", final)
    writer: StoreWriter | None = None
    try:
        writer = StoreWriter(
            folder,
            n_dense=len(source.dense_names),
            n_sparse=len(source.sparse_names),
            has_parts=source.has_parts,
        )
        source.write(writer)
        if store_folder(source, final.parent) != final:
            raise DataError(f"{final}: a raw file changed while it was read: start again")
    finally:
        if writer is not None:
            writer.close()
    seconds = time.monotonic() - start
    logger.info("%s: %d rows in %.1f s", final, writer.rows, seconds)
