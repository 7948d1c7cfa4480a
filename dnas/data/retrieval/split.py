"""Positions of a timeline to parts: weights and theta (which make up train), validation, test.

With n interactions of a user and N of all:

- ``paper``, as released with AutoTower: the first ``floor(3 n / 4)`` of each user are the pool, the
  others are later. The pools of all users are shuffled together and cut by count: ``floor(N / 2)``
  rows train, the rest validates. So validation is a random third of each user's first three
  quarters, *not* later than train; histories of train rows hold validation items. Rounding down
  leaves the pool short of ``floor(3 N / 4)`` rows by some, fewer than there are users; that many
  random users each give the *first* of their later rows to validation. (The release takes random
  later rows, whose histories then hold test items. With the first ones, no test row is in the
  history of a train or validation row.)
- ``temporal``: of each user the first ``floor(n / 2)`` train, those up to ``floor(3 n / 4)``
  validate, the others test. Histories of train rows hold train items only.

In both, test is the latest quarter of each user. A user's test rows may still be earlier than
another user's train rows: no split by users' lives prevents that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dnas.data.retrieval.config import RetrievalSplit
from dnas.data.retrieval.timeline import Timeline
from dnas.data.splits import indices_hash
from dnas.errors import DataError

_STREAM_PARTS, _STREAM_WEIGHTS, STREAM_MOMENTS = 0, 1, 2


def split_timeline(
    timeline: Timeline, *, rule: RetrievalSplit, weights_proportion: float, seed: int
) -> dict[str, np.ndarray]:
    """Divide all positions.

    Args:
        timeline: The interactions.
        rule: See the module.
        weights_proportion: Share of train rows that train the weights, chosen at random.
        seed: Of the random divisions.

    Returns:
        Positions (int64) of weights, theta, train, validation and test; ascending, but for
        validation, which is in random order: its rows are each other's negatives in batches that
        are cut from it.

    Raises:
        DataError: A part would be empty.
    """
    rng = np.random.default_rng([seed, _STREAM_PARTS])
    counts = timeline.counts()
    place = np.arange(len(timeline)) - timeline.starts[timeline.users]  # in the user's life
    early = place < (3 * counts // 4)[timeline.users]
    if rule == "paper":
        pool = rng.permutation(np.flatnonzero(early))
        train = pool[: len(timeline) // 2]
        short = 3 * len(timeline) // 4 - len(pool)
        givers = rng.choice(np.flatnonzero(counts), size=short, replace=False)
        given = timeline.starts[givers] + (3 * counts // 4)[givers]
        validation = rng.permutation(np.concatenate([pool[len(train) :], given]))
    else:
        is_train = place < (counts // 2)[timeline.users]
        train = np.flatnonzero(is_train)
        validation = rng.permutation(np.flatnonzero(early & ~is_train))
    is_test = np.ones(len(timeline), dtype=bool)
    is_test[train] = is_test[validation] = False
    train = np.sort(train)
    rng = np.random.default_rng([seed, _STREAM_WEIGHTS])
    is_weights = np.zeros(len(train), dtype=bool)
    is_weights[: round(weights_proportion * len(train))] = True
    rng.shuffle(is_weights)
    parts = {
        "weights": train[is_weights],
        "theta": train[~is_weights],
        "train": train,
        "validation": validation,
        "test": np.flatnonzero(is_test),
    }
    for name in ("train", "validation", "test", "weights", "theta"):
        if not len(parts[name]):
            raise DataError(
                f"split: the {name} part of {len(timeline)} rows of {np.count_nonzero(counts)} "
                f"users is empty with --retrieval_split={rule} and "
                f"--weights_training_proportion={weights_proportion}: use more rows"
            )
    return parts


def split_record(
    parts: dict[str, np.ndarray], *, rule: RetrievalSplit, weights_proportion: float, seed: int
) -> dict[str, Any]:
    """What a run's record says of its split, as JSON."""
    return {
        "rule": rule,
        "seed": seed,
        "weights_training_proportion": weights_proportion,
        "parts": {
            name: {"rows": len(positions), "hash": indices_hash(positions)}
            for name, positions in parts.items()
        },
    }
