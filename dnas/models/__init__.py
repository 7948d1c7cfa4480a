"""Plain modules: what search spaces build, and how to measure their layers."""

import dnas.models.field_operators
import dnas.models.operator_kinds  # noqa: F401  (registers them)
from dnas.models.autoint import AutoInt
from dnas.models.cin import CompressedInteraction
from dnas.models.deepfm import DeepFM
from dnas.models.dlrm import DLRM, DLRMSpec
from dnas.models.embeddings import EmbeddingTables, FusedTable, capped_rows
from dnas.models.factorization import FactorizationMachine
from dnas.models.field_model import FieldModel
from dnas.models.fields import FieldVectors
from dnas.models.first_order import FirstOrder
from dnas.models.interacting import InteractingLayer, InteractingStack
from dnas.models.interaction import CatInteraction, DotInteraction, make_interaction
from dnas.models.mlp import MLP
from dnas.models.xdeepfm import XDeepFM

__all__ = [
    "DLRM",
    "MLP",
    "AutoInt",
    "CatInteraction",
    "CompressedInteraction",
    "DLRMSpec",
    "DeepFM",
    "DotInteraction",
    "EmbeddingTables",
    "FactorizationMachine",
    "FieldModel",
    "FieldVectors",
    "FirstOrder",
    "FusedTable",
    "InteractingLayer",
    "InteractingStack",
    "XDeepFM",
    "capped_rows",
    "make_interaction",
]
