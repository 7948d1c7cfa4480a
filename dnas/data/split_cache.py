"""Row numbers of a split, kept beside the store so that all jobs of a host share one copy.

::

    <store>/splits/<12 hex digits>/  record.json  weights.npy  theta.npy  validation.npy ...

A part of consecutive rows has no file; its range is in the record. The folder is written under a
temporary name and renamed. A store that cannot be written to is no obstacle: each process then
computes the split for itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from dnas.data.config import SplitRule
from dnas.data.splits import PARTS, Indices, make_splits, splits_record
from dnas.data.store import Store
from dnas.errors import DnasError
from dnas.files import read_json, write_json

logger = logging.getLogger(__name__)

_FORMAT = "dnas.splits/1"


def cached_splits(
    store: Store,
    *,
    rule: SplitRule,
    train_fraction: float,
    weights_proportion: float,
    seed: int,
    off_by_one: bool = False,
    memory_map: bool = True,
) -> tuple[dict[str, Indices], dict[str, Any]]:
    """The split of a store's rows, and its record (:func:`~dnas.data.splits.splits_record`).

    Raises:
        DataError: A part would be empty.
    """
    options = [rule, repr(train_fraction), repr(weights_proportion), seed]
    if off_by_one:
        options.append("off_by_one")
    key = json.dumps([_FORMAT, np.__version__, *options])
    folder = store.path / "splits" / hashlib.blake2b(key.encode()).hexdigest()[:12]
    found = _read(folder, memory_map)
    if found is not None:
        return found
    splits = make_splits(
        rule=rule,
        labels=store.labels,
        parts=store.parts,
        train_fraction=train_fraction,
        weights_proportion=weights_proportion,
        seed=seed,
        off_by_one=off_by_one,
    )
    record = splits_record(
        splits,
        store.labels,
        rule=rule,
        seed=seed,
        train_fraction=train_fraction,
        weights_proportion=weights_proportion,
        off_by_one=off_by_one,
    )
    try:
        _write(folder, splits, record)
    except OSError as error:
        logger.warning("%s: the split is not kept (%s); each job will compute it", folder, error)
        return splits, record
    return _read(folder, memory_map) or (splits, record)


def _read(folder: Path, memory_map: bool) -> tuple[dict[str, Indices], dict[str, Any]] | None:
    if not folder.is_dir():
        return None
    try:
        value = read_json(folder / "record.json")
        splits: dict[str, Indices] = {}
        for name in PARTS:
            ends = value["ranges"][name]
            if ends is not None:
                splits[name] = range(*ends)
            else:
                file = folder / f"{name}.npy"
                mapped = np.load(file, mmap_mode="r", allow_pickle=False)
                splits[name] = mapped if memory_map else np.array(mapped)
            if len(splits[name]) != value["record"]["parts"][name]["rows"]:
                raise ValueError(f"{name} has {len(splits[name])} rows")
        return splits, value["record"]
    except (DnasError, OSError, KeyError, TypeError, ValueError) as error:
        logger.warning("%s: a damaged split is computed anew (%s)", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None


def _write(folder: Path, splits: dict[str, Indices], record: dict[str, Any]) -> None:
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    temporary.mkdir(parents=True)
    try:
        ranges: dict[str, list[int] | None] = {}
        for name, indices in splits.items():
            if isinstance(indices, range):
                ranges[name] = [indices.start, indices.stop]
            else:
                ranges[name] = None
                with open(temporary / f"{name}.npy", "wb") as file:
                    np.save(file, indices, allow_pickle=False)
                    file.flush()
                    os.fsync(file.fileno())
        write_json(temporary / "record.json", {"ranges": ranges, "record": record})
        try:
            os.rename(temporary, folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster, with the same content
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
