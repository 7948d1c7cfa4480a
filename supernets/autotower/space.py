"""AutoTower's search space by name."""

from __future__ import annotations

from dnas.data.retrieval import TowerSpec
from dnas.spaces import register
from supernets.autotower.config import AutoTowerConfig
from supernets.autotower.supernet import AutoTowerSuperNet
from supernets.towers.space import RetrievalSpace


class AutoTowerSpace(RetrievalSpace):
    """Poolings and blocks of two towers, for any data of interactions."""

    name = "autotower"
    config_class = AutoTowerConfig

    def make_supernet(self, config: AutoTowerConfig, spec: TowerSpec) -> AutoTowerSuperNet:
        """All towers for data with these fields."""
        return AutoTowerSuperNet(config, spec)


AUTOTOWER = register(AutoTowerSpace())
