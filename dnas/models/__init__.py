"""Plain modules: what search spaces build."""

from dnas.models.dlrm import DLRM, DLRMSpec
from dnas.models.embeddings import EmbeddingTables, FusedTable, capped_rows
from dnas.models.interaction import CatInteraction, DotInteraction, make_interaction
from dnas.models.mlp import MLP

__all__ = [
    "DLRM",
    "MLP",
    "CatInteraction",
    "DLRMSpec",
    "DotInteraction",
    "EmbeddingTables",
    "FusedTable",
    "capped_rows",
    "make_interaction",
]
