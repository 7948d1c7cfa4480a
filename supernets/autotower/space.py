"""AutoTower's search space by name."""

from __future__ import annotations

from typing import Any

from dnas.core import Architecture, SuperNet
from dnas.data.retrieval import TowerSpec
from dnas.errors import ArchitectureError
from dnas.spaces import register
from supernets.autotower.config import AutoTowerConfig
from supernets.autotower.published import blocks_of, is_published, published_by_name
from supernets.autotower.supernet import AutoTowerSuperNet
from supernets.towers.space import RetrievalSpace


class AutoTowerSpace(RetrievalSpace):
    """Poolings and blocks of two towers, for any data of interactions."""

    name = "autotower"
    config_class = AutoTowerConfig
    one_shot_fields = ("anchored",)

    def make_supernet(self, config: AutoTowerConfig, spec: TowerSpec) -> AutoTowerSuperNet:
        """All towers for data with these fields."""
        return AutoTowerSuperNet(config, spec)

    def published_architecture(
        self, value: Any, source: str, super_net: SuperNet
    ) -> Architecture | None:
        """One of the paper's Table 7, which the file names: ``{"autotower": "ml_100k"}``."""
        if not is_published(value):
            return None
        found = published_by_name(value, source)
        try:
            return super_net.validate(found)
        except ArchitectureError as error:
            user, item = blocks_of(found)
            raise ArchitectureError(
                f"{source}: {error}; this one needs --user_blocks={user} --item_blocks={item}"
            ) from None


AUTOTOWER = register(AutoTowerSpace())
