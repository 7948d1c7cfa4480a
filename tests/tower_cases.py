"""A small corpus for tests of two-tower models."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from dnas.data.retrieval import TowerSpec

USERS, ITEMS, GENRES = 7, 9, 4
SPEC = TowerSpec(
    user_names=("user_id", "age"),
    user_sizes=(USERS + 1, 3),
    item_names=("movie_id", "decade"),
    item_sizes=(ITEMS + 1, 5),
    bag_name="genres",
    bag_size=GENRES,
    bag_width=3,
    history_names=("movie_id", "genres"),
    seq_len=6,
)
#: Items without a multi-hot field.
PLAIN = replace(SPEC, bag_name="", bag_size=0, bag_width=0, history_names=("movie_id", "decade"))
#: The published sizes of ML-100K.
MOVIELENS = TowerSpec(
    user_names=("user_id", "age", "gender", "occupation"),
    user_sizes=(944, 8, 2, 21),
    item_names=("movie_id", "decade"),
    item_sizes=(1683, 10),
    bag_name="genres",
    bag_size=19,
    bag_width=6,
    history_names=("movie_id", "decade", "genres"),
    seq_len=20,
)


def inputs(rows: int, spec: TowerSpec = SPEC) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As many users as items; histories of 0 to L items, bags of 0 to G values."""
    sizes = {**dict(zip(spec.item_names, spec.item_sizes, strict=True)), spec.bag_name: GENRES}
    users = torch.stack([torch.randint(n, (rows,)) for n in spec.user_sizes], dim=1)
    items = torch.stack([torch.randint(n, (rows,)) for n in spec.item_sizes], dim=1)
    places = (rows, spec.seq_len)
    history = torch.stack([torch.randint(1, sizes[n], places) for n in spec.history_names], dim=2)
    missing = torch.randint(spec.seq_len + 1, (rows, 1))
    missing[0] = spec.seq_len
    history[torch.arange(spec.seq_len) < missing] = 0
    bags = torch.randint(spec.bag_size + 1, (rows, spec.bag_width))
    return users, history, items, bags
