"""Folders that are built once, whole, by one process, however many ask for them.

The first to ask takes a lock, builds in a temporary folder beside the final one and renames it; a
folder is whole or it is not there. What a killed builder left is removed by the next one, who holds
the lock and so knows that nobody is writing.
"""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from dnas.errors import DataError

logger = logging.getLogger(__name__)

_WAIT_SECONDS = 10.0


def build_once(final: Path, marker: str, build: Callable[[Path], None]) -> None:
    """Build a folder, unless it is there or another process just built it.

    Args:
        final: The folder.
        marker: A file that every whole folder has.
        build: Writes the content into an empty folder.

    Raises:
        DataError: The folder cannot be written, or is something else.
    """
    if (final / marker).exists():
        return
    try:
        _build_locked(final, marker, build)
    except OSError as error:
        raise DataError(
            f"{final}: the data store cannot be built ({error}); see --data_cache"
        ) from error


def _build_locked(final: Path, marker: str, build: Callable[[Path], None]) -> None:
    final.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(final.with_name(f".{final.name}.lock"))
    while True:
        try:
            lock.acquire(timeout=_WAIT_SECONDS)
            break
        except Timeout:
            logger.info("%s: waiting for the process that builds it", final)
    try:
        if not (final / marker).exists():
            _build(final, build)
    finally:
        lock.release()


def _build(final: Path, build: Callable[[Path], None]) -> None:
    prefix = f".{final.name}.building-"
    for leftover in final.parent.glob(f"{prefix}*"):
        logger.warning("%s: removing what an interrupted build left", leftover)
        shutil.rmtree(leftover)
    if final.exists():
        # A folder without marker under the final name is nothing this module makes.
        raise DataError(f"{final}: exists but is not a data store: move or delete it")
    folder = final.with_name(f"{prefix}{uuid.uuid4().hex[:8]}")
    folder.mkdir()
    try:
        build(folder)
        os.rename(folder, final)
        _sync_folder(final.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sync_folder(path: Path) -> None:
    """Bring a rename to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
