"""Stores are built once, whole, by one process, however many ask for them.

The folder's name has a hash of everything the content depends on, so another option or a changed
file is another store. The first to ask takes a lock, builds in a temporary folder beside the final
one and renames it; a store is whole or it is not there. What a killed builder left is removed by
the next one, who holds the lock and so knows that nobody is writing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from dnas.data.store import FORMAT, MANIFEST, Store
from dnas.data.store_writer import StoreWriter
from dnas.errors import DataError

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 10.0


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
    if not (final / MANIFEST).exists():
        try:
            _build_locked(source, final)
        except OSError as error:
            raise DataError(
                f"{final}: the data store cannot be built ({error}); see --data_cache"
            ) from error
    return Store.open(final, memory_map=memory_map)


def _build_locked(source: Source, final: Path) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(final.with_name(f".{final.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
            break
        except Timeout:
            logger.info("%s: waiting for the process that builds it", final)
    try:
        if not (final / MANIFEST).exists():
            _build(source, final)
    finally:
        lock.release()


def _build(source: Source, final: Path) -> None:
    prefix = f".{final.name}.building-"
    for leftover in final.parent.glob(f"{prefix}*"):
        logger.warning("%s: removing what an interrupted build left", leftover)
        shutil.rmtree(leftover)
    if final.exists():
        # A folder without manifest under the final name is nothing this module makes.
        raise DataError(f"{final}: exists but is not a data store: move or delete it")
    folder = final.with_name(f"{prefix}{uuid.uuid4().hex[:8]}")
    folder.mkdir()
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
        os.rename(folder, final)
        _sync_folder(final.parent)
    finally:
        if writer is not None:
            writer.close()
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - start
    logger.info("%s: %d rows in %.1f s", final, writer.rows, seconds)


def _sync_folder(path: Path) -> None:
    """Bring a rename to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
