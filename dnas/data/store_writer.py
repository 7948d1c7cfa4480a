"""Writing a store: columns to files, hashed and brought to the disk on the way."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dnas.data.spec import DataSpec
from dnas.data.store import DENSE, IDS, LABELS, MANIFEST, PARTS, Manifest
from dnas.files import write_json

_CHUNK_BYTES = 32 << 20
#: So much is written at most before the disk is told to begin: a system left to itself may wait
#: for half a minute, and what it has not begun must all be waited for at the end.
_SYNC_BYTES = 64 << 20
#: Blocks that may wait for being written, which bounds the memory.
_WAITING = 2


class _ColumnFile:
    """A file that is written from start to end, and the hash of its bytes."""

    def __init__(self, path: Path, dtype: str) -> None:
        self.path = path
        self._dtype = dtype
        self._file = path.open("wb", buffering=0)
        self._digest = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> bytes:
        """16 bytes of blake2b."""
        return self._digest.digest()

    def write(self, values: np.ndarray) -> int:
        """Append values; gives their bytes."""
        # Not ndarray.tofile: it reports a full disk without saying so.
        flat = np.ascontiguousarray(values, dtype=self._dtype).reshape(-1)
        data = flat.view(np.uint8).data
        self._digest.update(data)
        rest = data
        while len(rest):
            rest = rest[self._file.write(rest) :]
        return len(data)

    def sync(self) -> None:
        """Bring what is written to the disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class StoreWriter:
    """Writes the columns of a store into a folder, block by block.

    Blocks are hashed and written by a thread, while the caller makes the next one. An error of the
    disk is raised by a later call. Nothing reads the folder before :meth:`finish`, which writes the
    manifest last.

    Args:
        folder: An existing, empty folder.
        n_dense: Numeric columns.
        n_sparse: Categorical columns.
        has_parts: Whether blocks bring part codes.

    Attributes:
        rows: Rows appended.
        positives: How many of them have label 1.
    """

    def __init__(self, folder: Path, *, n_dense: int, n_sparse: int, has_parts: bool) -> None:
        self._folder = folder
        self._n_dense = n_dense
        self._n_sparse = n_sparse
        dtypes = {LABELS: "u1", DENSE: "<f4", IDS: "<i4", **({PARTS: "u1"} if has_parts else {})}
        self._files = {name: _ColumnFile(folder / name, dtype) for name, dtype in dtypes.items()}
        self._ids_remapped = False
        self._writing = ThreadPoolExecutor(1, "dnas-store-write")
        self._syncing = ThreadPoolExecutor(1, "dnas-store-sync")
        self._waiting: deque[Future[None]] = deque()
        self._sync: Future[None] | None = None
        self._unsynced = 0
        self.rows = 0
        self.positives = 0

    def append(
        self,
        labels: np.ndarray,
        dense: np.ndarray,
        ids: np.ndarray,
        parts: np.ndarray | None = None,
    ) -> None:
        """Add rows. The arrays must not be changed afterwards.

        Args:
            labels: ``(rows,)`` of 0 and 1.
            dense: ``(rows, n_dense)``.
            ids: ``(rows, F)``.
            parts: ``(rows,)`` codes, exactly when the store has parts.
        """
        rows = labels.shape[0]
        assert dense.shape == (rows, self._n_dense), dense.shape
        assert ids.shape == (rows, self._n_sparse), ids.shape
        assert (parts is not None) == (PARTS in self._files)
        columns = {LABELS: labels, DENSE: dense, IDS: ids}
        if parts is not None:
            columns[PARTS] = parts
        self._wait(_WAITING - 1)
        self._waiting.append(self._writing.submit(self._write, columns))
        self.rows += rows
        self.positives += int(labels.sum(dtype=np.int64))

    def remap_ids(self, tables: list[np.ndarray] | None) -> None:
        """Replace each id of feature f by ``tables[f][id]``; None leaves all as they are."""
        if tables is None or self._n_sparse == 0 or self.rows == 0:
            return
        self._wait(0)
        shape = (self.rows, self._n_sparse)
        ids = np.memmap(self._folder / IDS, dtype="<i4", mode="r+", shape=shape)
        step = max(_CHUNK_BYTES // (4 * self._n_sparse), 1)
        for start in range(0, self.rows, step):
            block = np.array(ids[start : start + step])
            for feature, table in enumerate(tables):
                block[:, feature] = table[block[:, feature]]
            ids[start : start + step] = block
        ids.flush()
        self._ids_remapped = True

    def finish(
        self,
        *,
        data_set: str,
        spec: DataSpec,
        identity: dict[str, Any],
        skipped_rows: int = 0,
        skipped_examples: list[str] | None = None,
    ) -> Manifest:
        """Bring everything to the disk and write the manifest."""
        self._wait(0)
        if self._sync is not None:
            self._sync.result()
        self._sync_files()
        digests = {name: file.digest for name, file in self._files.items()}
        if self._ids_remapped:
            digests[IDS] = _digest(self._folder / IDS)
        self.close()
        manifest = Manifest(
            data_set=data_set,
            spec=spec,
            rows=self.rows,
            positives=self.positives,
            has_parts=PARTS in self._files,
            skipped_rows=skipped_rows,
            skipped_examples=skipped_examples or [],
            identity=identity,
            content_hash=_combine(list(digests.values())),
        )
        write_json(self._folder / MANIFEST, manifest.to_json())
        return manifest

    def close(self) -> None:
        """End the threads and close the files, whole or not."""
        self._writing.shutdown(cancel_futures=True)
        self._syncing.shutdown(cancel_futures=True)
        for file in self._files.values():
            file.close()

    def _wait(self, waiting: int) -> None:
        """Until at most so many blocks are not yet written."""
        while len(self._waiting) > waiting:
            self._waiting.popleft().result()

    def _write(self, columns: dict[str, np.ndarray]) -> None:
        """In the writing thread."""
        self._unsynced += sum(self._files[name].write(values) for name, values in columns.items())
        if self._unsynced >= _SYNC_BYTES and (self._sync is None or self._sync.done()):
            if self._sync is not None:
                self._sync.result()
            self._unsynced = 0
            self._sync = self._syncing.submit(self._sync_files)

    def _sync_files(self) -> None:
        for file in self._files.values():
            file.sync()


def hash_files(paths: list[Path]) -> str:
    """32 hexadecimal digits that tell the content of files: blake2b of their blake2b digests."""
    return _combine([_digest(path) for path in paths])


def _combine(digests: list[bytes]) -> str:
    return hashlib.blake2b(b"".join(digests), digest_size=16).hexdigest()


def _digest(path: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()
