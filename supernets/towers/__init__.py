"""Search spaces of two-tower retrieval models."""

from supernets.towers.baselines import TOWER_BASELINES, TowerBaselinesSpace, TowerBaselinesSuperNet
from supernets.towers.baselines_config import TowerBaselinesConfig
from supernets.towers.config import TwoTowerConfig

__all__ = [
    "TOWER_BASELINES",
    "TowerBaselinesConfig",
    "TowerBaselinesSpace",
    "TowerBaselinesSuperNet",
    "TwoTowerConfig",
]
