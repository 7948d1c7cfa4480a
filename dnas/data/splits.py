"""Rows to parts: weights and theta (which make up train), validation, test.

Rules, with n rows and ``train = round(train_fraction * n)``:

- ``chronological`` (paper, VII-A): the first ``train`` rows train; the others, which are later,
  are halved at random, so that validation and test come from the same days.
- ``random``: a random ``train`` of the rows train, the others are halved at random.
- ``stratified``: as ``random`` within each label, so that label rates agree within rounding;
  weights and theta too.
- ``column``: the data says it. If it marks no row as validation, a random
  ``round(train_fraction * n)`` of its n train rows train and the others are validation.
- ``autoctr``: the ten folds of :mod:`dnas.data.folds`, eight of which train; no ``train_fraction``
  and no seed are in it.

Validation gets the smaller half where the rest is halved. In all rules weights and theta divide the
train rows at random. The random streams of the two divisions are independent: another share of
weights leaves validation and test as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from dnas.data.config import SplitRule
from dnas.data.folds import FOLDS, autoctr_parts
from dnas.data.store import PART_CODES
from dnas.errors import DataError

#: Sorted row numbers, int32 or int64; consecutive ones are a range.
Indices = np.ndarray | range

PARTS = ("weights", "theta", "train", "validation", "test")

_STREAM_PARTS, _STREAM_WEIGHTS = 0, 1
_CHUNK_ROWS = 1 << 22


def make_splits(
    *,
    rule: SplitRule,
    labels: np.ndarray,
    parts: np.ndarray | None = None,
    train_fraction: float = 6 / 7,
    weights_proportion: float = 0.8,
    seed: int = 1,
    off_by_one: bool = False,
) -> dict[str, Indices]:
    """Divide rows.

    Args:
        rule: See the module.
        labels: ``(rows,)`` of 0 and 1.
        parts: ``(rows,)`` codes of ``PART_CODES``; needed with ``column``.
        train_fraction: Share of rows that train.
        weights_proportion: Share of train rows that train the weights.
        seed: Of the random divisions.
        off_by_one: With ``autoctr``, what the released scripts do with Criteo and KDD Cup 2012.

    Returns:
        For each of :data:`PARTS` its rows in ascending order. weights and theta are disjoint and
        make up train; train, validation and test are disjoint and make up everything, but for the
        first row with ``off_by_one``.

    Raises:
        DataError: A part would be empty; the message says which flag to change.
    """
    rows = labels.shape[0]
    rng = np.random.default_rng([seed, _STREAM_PARTS])
    train: Indices
    if rule == "chronological":
        count = round(rows * train_fraction)
        train = range(count)
        validation, test = _halve(_numbers(range(count, rows)), rng)
    elif rule == "autoctr":
        codes = autoctr_parts(labels, off_by_one=off_by_one)
        numbers = _numbers(range(rows))
        train, validation, test = (numbers[codes == code] for code in PART_CODES.values())
    elif rule == "column":
        train, validation, test = _by_column(parts, train_fraction, rng)
    else:
        groups = _groups(_numbers(range(rows)), labels, rule)
        train, rest = _divide(groups, train_fraction, rng)
        validation, test = _divide(_groups(rest, labels, rule), 0.5, rng, down=True)
    rng = np.random.default_rng([seed, _STREAM_WEIGHTS])
    weights, theta = _divide(_groups(_numbers(train), labels, rule), weights_proportion, rng)
    splits: dict[str, Indices] = {
        "weights": weights,
        "theta": theta,
        "train": train,
        "validation": validation,
        "test": test,
    }
    flags = {
        "weights": f"--weights_training_proportion={weights_proportion}",
        "theta": f"--weights_training_proportion={weights_proportion}",
        "train": f"--train_fraction={train_fraction}",
        "validation": f"--train_fraction={train_fraction}",
        "test": f"--train_fraction={train_fraction}",
    }
    if rule == "autoctr":
        of_folds = dict.fromkeys(PART_CODES, f"{FOLDS} folds, {FOLDS - 2} of which train")
        flags.update(of_folds)
    for name in ("train", "validation", "test", "weights", "theta"):
        if len(splits[name]) == 0:
            raise DataError(
                f"split: the {name} part of {rows} rows is empty with --split={rule} and "
                f"{flags[name]}: use more rows, or change the flag"
            )
    return splits


def indices_hash(indices: Indices) -> str:
    """32 hexadecimal digits that tell one set of rows from another (as int64, little endian)."""
    digest = hashlib.blake2b(digest_size=16)
    for start in range(0, len(indices), _CHUNK_ROWS):
        digest.update(np.asarray(indices[start : start + _CHUNK_ROWS]).astype("<i8").data)
    return digest.hexdigest()


def splits_record(
    splits: Mapping[str, Indices],
    labels: np.ndarray,
    *,
    rule: SplitRule,
    seed: int,
    train_fraction: float,
    weights_proportion: float,
    off_by_one: bool = False,
) -> dict[str, Any]:
    """What a run's record says of its split, as JSON: the rule, and size, label rate and hash of
    each part."""
    of_rule: dict[str, Any] = {"train_fraction": train_fraction}
    if rule == "autoctr":
        of_rule = {"off_by_one": off_by_one}
    return {
        "rule": rule,
        "seed": seed,
        **of_rule,
        "weights_training_proportion": weights_proportion,
        "parts": {
            name: {
                "rows": len(indices),
                "label_rate": float(np.mean(_take(labels, indices), dtype=np.float64)),
                "hash": indices_hash(indices),
            }
            for name, indices in splits.items()
        },
    }


def _take(labels: np.ndarray, indices: Indices) -> np.ndarray:
    if isinstance(indices, range):
        return labels[indices.start : indices.stop]
    return labels[indices]


def _numbers(indices: Indices) -> np.ndarray:
    """As an array of the smaller type that holds the row numbers."""
    if isinstance(indices, range):
        kind = np.int32 if indices.stop <= 2**31 else np.int64
        return np.arange(indices.start, indices.stop, dtype=kind)
    return indices


def _groups(indices: np.ndarray, labels: np.ndarray, rule: str) -> list[np.ndarray]:
    """What is divided separately: everything, or each label for ``stratified``."""
    if rule != "stratified":
        return [indices]
    positive = labels[indices] == 1
    return [indices[~positive], indices[positive]]


def _divide(
    groups: list[np.ndarray], fraction: float, rng: np.random.Generator, *, down: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Random ``fraction`` of each group, and the others, both sorted."""
    first, second = [], []
    for group in groups:
        share = group.size * fraction
        chosen = np.zeros(group.size, dtype=bool)
        chosen[: int(share) if down else round(share)] = True
        rng.shuffle(chosen)
        first.append(group[chosen])
        second.append(group[~chosen])
    if len(groups) == 1:
        return first[0], second[0]
    return np.sort(np.concatenate(first)), np.sort(np.concatenate(second))


def _halve(indices: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return _divide([indices], 0.5, rng, down=True)


def _by_column(
    parts: np.ndarray | None, train_fraction: float, rng: np.random.Generator
) -> tuple[Indices, np.ndarray, np.ndarray]:
    if parts is None:
        raise DataError(
            "--split=column: the data has no column that says the split: give one in the schema, "
            "or use another rule"
        )
    train, validation, test = (
        np.flatnonzero(parts == PART_CODES[name]) for name in ("train", "validation", "test")
    )
    if validation.size == 0:
        train, validation = _divide([train], train_fraction, rng)
    return train, validation, test
