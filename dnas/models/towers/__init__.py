"""Two-tower models: inputs, pooling, towers, and what serving needs."""

from dnas.models.towers.approximate import ApproximateIndex, index_recall
from dnas.models.towers.attention_pooling import SelfAttentionPooling, SelfAttentivePooling
from dnas.models.towers.blocks import OPERATIONS, BlockTower, TowerBlock
from dnas.models.towers.capsules import CapsulePooling, FieldMean
from dnas.models.towers.dense import dense_tower
from dnas.models.towers.inputs import ItemInputs, UserInputs, beside
from dnas.models.towers.mean_pooling import AveragePooling, SumPooling
from dnas.models.towers.pooling import PAPER_POOLINGS, POOLINGS, make_pooling
from dnas.models.towers.senet import FieldExcitation
from dnas.models.towers.serving import item_matrix, top_k
from dnas.models.towers.transformer import TransformerPooling
from dnas.models.towers.two_tower import ItemTower, TwoTower, UserTower, join, split, unit_vectors

__all__ = [
    "OPERATIONS",
    "PAPER_POOLINGS",
    "POOLINGS",
    "ApproximateIndex",
    "AveragePooling",
    "BlockTower",
    "CapsulePooling",
    "FieldExcitation",
    "FieldMean",
    "ItemInputs",
    "ItemTower",
    "SelfAttentionPooling",
    "SelfAttentivePooling",
    "SumPooling",
    "TowerBlock",
    "TransformerPooling",
    "TwoTower",
    "UserInputs",
    "UserTower",
    "beside",
    "dense_tower",
    "index_recall",
    "item_matrix",
    "join",
    "make_pooling",
    "split",
    "top_k",
    "unit_vectors",
]
