"""AutoTower: two towers, each a stack of choice blocks, and a choice of the history's pooling."""

from supernets.autotower.config import AutoTowerConfig
from supernets.autotower.space import AUTOTOWER, AutoTowerSpace
from supernets.autotower.supernet import AutoTowerSuperNet

__all__ = ["AUTOTOWER", "AutoTowerConfig", "AutoTowerSpace", "AutoTowerSuperNet"]
