"""What the two-tower supernets read."""

from __future__ import annotations

from torch import nn

from dnas.data.retrieval import TowerSpec
from dnas.models.towers import ItemInputs, UserInputs
from supernets.towers.config import TwoTowerConfig


def make_inputs(config: TwoTowerConfig, spec: TowerSpec, pooling: nn.Module) -> UserInputs:
    """New tables, and a pooling of the history."""
    dim, sparse = config.embedding_dimension, config.sparse_tables
    items = ItemInputs(spec, dim, sparse=sparse, released_padding=config.released_padding)
    return UserInputs(spec, dim, items, pooling, sparse=sparse)
