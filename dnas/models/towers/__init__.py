"""Two-tower models: inputs, pooling, towers, and what serving needs."""

from dnas.models.towers.capsules import CapsulePooling, FieldMean
from dnas.models.towers.dense import dense_tower
from dnas.models.towers.inputs import ItemInputs, UserInputs, beside
from dnas.models.towers.pooling import AveragePooling
from dnas.models.towers.senet import FieldExcitation
from dnas.models.towers.serving import item_matrix, top_k
from dnas.models.towers.transformer import TransformerPooling
from dnas.models.towers.two_tower import ItemTower, TwoTower, UserTower, join, split, unit_vectors

__all__ = [
    "AveragePooling",
    "CapsulePooling",
    "FieldExcitation",
    "FieldMean",
    "ItemInputs",
    "ItemTower",
    "TransformerPooling",
    "TwoTower",
    "UserInputs",
    "UserTower",
    "beside",
    "dense_tower",
    "item_matrix",
    "join",
    "split",
    "top_k",
    "unit_vectors",
]
