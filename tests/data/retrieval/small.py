"""Interactions written by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnas.data.retrieval import Interactions, TowerSpec


def interactions(
    rows: Sequence[tuple[int, int, int]], *, seq_len: int = 3, items: int | None = None
) -> Interactions:
    """Rows (user, item, time); ids are the only fields, but for the item's parity."""
    users, ids, times = (np.array(column) for column in zip(*rows, strict=True))
    num_users, num_items = int(users.max()), items or int(ids.max())
    return Interactions(
        users=users.astype(np.int32),
        items=ids.astype(np.int32),
        times=times.astype(np.int64),
        user_fields=np.arange(num_users + 1, dtype=np.int32)[:, None],
        item_fields=np.stack([np.arange(num_items + 1)] * 2, axis=1).astype(np.int32) % [10**6, 2],
        item_bags=np.zeros((num_items + 1, 0), dtype=np.int32),
        spec=TowerSpec(
            user_names=("user_id",),
            user_sizes=(num_users + 1,),
            item_names=("item_id", "odd"),
            item_sizes=(num_items + 1, 2),
            history_names=("item_id", "odd"),
            seq_len=seq_len,
        ),
    )


def lives(*counts: int) -> Interactions:
    """Users 1, 2, .. with so many interactions each; items are numbered through, in time."""
    rows = []
    for user, count in enumerate(counts, start=1):
        for _ in range(count):
            rows.append((user, len(rows) + 1, len(rows)))
    return interactions(rows)
