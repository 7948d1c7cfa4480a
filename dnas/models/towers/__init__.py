"""Two-tower models: inputs, pooling, towers, and what serving needs."""

from dnas.models.towers.approximate import ApproximateIndex, index_recall
from dnas.models.towers.dense import dense_tower
from dnas.models.towers.inputs import ItemInputs, UserInputs
from dnas.models.towers.pooling import AveragePooling
from dnas.models.towers.serving import item_matrix, top_k
from dnas.models.towers.two_tower import ItemTower, TwoTower, UserTower

__all__ = [
    "ApproximateIndex",
    "AveragePooling",
    "ItemInputs",
    "ItemTower",
    "TwoTower",
    "UserInputs",
    "UserTower",
    "dense_tower",
    "index_recall",
    "item_matrix",
    "top_k",
]
