"""The search spaces that come with the framework. Importing this package registers them."""

from supernets.autotower import AUTOTOWER, AutoTowerConfig, AutoTowerSpace, AutoTowerSuperNet
from supernets.baselines import CTR_BASELINES, BaselinesSpace, BaselinesSuperNet
from supernets.baselines_config import BaselinesConfig
from supernets.dlrm import DLRMSuperNet
from supernets.embedding import EmbeddingSuperNet
from supernets.embedding_card import EmbeddingCardSuperNet
from supernets.embedding_dim import EmbeddingDimSuperNet
from supernets.mlp import MLPSuperNet
from supernets.nasrec import NASRecSuperNet
from supernets.nasrec.space import FULL as NASREC_FULL
from supernets.nasrec.space import SMALL as NASREC_SMALL
from supernets.nasrec.space import NASRecSpace
from supernets.registry import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS, DLRMSpace
from supernets.towers import (
    TOWER_BASELINES,
    TowerBaselinesConfig,
    TowerBaselinesSpace,
    TowerBaselinesSuperNet,
)

__all__ = [
    "AUTOTOWER",
    "CTR_BASELINES",
    "EMB_CARD",
    "EMB_DIM",
    "JOINT",
    "NASREC_FULL",
    "NASREC_SMALL",
    "TOP_BOTTOM_MLPS",
    "TOWER_BASELINES",
    "AutoTowerConfig",
    "AutoTowerSpace",
    "AutoTowerSuperNet",
    "BaselinesConfig",
    "BaselinesSpace",
    "BaselinesSuperNet",
    "DLRMSpace",
    "DLRMSuperNet",
    "EmbeddingCardSuperNet",
    "EmbeddingDimSuperNet",
    "EmbeddingSuperNet",
    "MLPSuperNet",
    "NASRecSpace",
    "NASRecSuperNet",
    "TowerBaselinesConfig",
    "TowerBaselinesSpace",
    "TowerBaselinesSuperNet",
]
