"""What the search spaces of two-tower retrieval have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dnas.data.retrieval import RetrievalDataConfig, TowerSpec, prepare_retrieval
from dnas.spaces import Prepared, SearchSpace
from dnas.training.retrieval import RETRIEVAL
from dnas.training.task import Task
from supernets.towers.config import TwoTowerConfig


class RetrievalSpace(SearchSpace):
    """A space of two-tower models for any data of interactions."""

    data_class = RetrievalDataConfig
    task = RETRIEVAL
    default_cost = "flops"
    judging_fields = ("selection",)

    def task_of(self, config: TwoTowerConfig) -> Task:
        """Retrieval with the loss and the selection of these settings."""
        return config.task()

    def prepare(self, data_config: RetrievalDataConfig) -> Prepared:
        """Read the interactions and split them."""
        return prepare_retrieval(data_config)

    def spec_from_json(self, value: Mapping[str, Any]) -> TowerSpec:
        """The fields an architecture file was made for."""
        return TowerSpec.from_json(value)
