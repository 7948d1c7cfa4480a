"""AutoTower's search space as a supernet, sections 3.2 and 3.3 of the paper.

A user's history is pooled in one of four ways. Fields and pooled history of the user, and fields of
the item, are aligned to D numbers each, and go through a stack of blocks with shortcuts: block l
reads the aligned input and the outputs of all blocks before it, and is one of 16 operations (11 in
the first block, which has nothing to combine element by element). The last block's output, as a
unit vector, is the user or the item.

Letters: B rows of a sample, U users, N items, L positions, W width, D width of the vectors, K
options.

Under a soft sample the outputs of a block's operations are mixed. Each operation has a norm of its
own; the statistics of a batch norm are in training those of all rows, whichever samples they have.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Option, Sample, SuperNet
from dnas.core.cost_terms import OptionCosts
from dnas.core.mixing import calculate_weighted_sum
from dnas.data.retrieval import TowerSpec
from dnas.models.towers import (
    OPERATIONS,
    TwoTower,
    beside,
    make_pooling,
)
from dnas.training.loss import LossFunction
from dnas.training.optim import OptimizerClass
from supernets.autotower.anchor import AnchoredPathStep, make_anchor
from supernets.autotower.config import AutoTowerConfig
from supernets.autotower.costs import fixed_costs, option_costs
from supernets.autotower.paths import TowerPaths, possible_operations
from supernets.towers.inputs import make_inputs
from supernets.towers.rows import weights_of_items

POOLING = "pooling/history"


class AutoTowerSuperNet(SuperNet):
    """All towers for data with these fields; outputs unit vectors, users first.

    Args:
        config: Sizes and form.
        spec: Fields of the data.
    """

    def __init__(self, config: AutoTowerConfig, spec: TowerSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.pooling = Choice("pooling", {"history": config.poolings}, column_title="pooling")
        self.user = _choice("user", config.user_blocks)
        self.item = _choice("item", config.item_blocks)
        poolings = nn.ModuleDict({kind: self._pooling(kind) for kind in config.poolings})
        self.inputs = make_inputs(config, spec, poolings)
        self.users = TowerPaths(self.inputs.width, config.user_blocks, config)
        self.items = TowerPaths(self.inputs.items.width, config.item_blocks, config)
        self._option_costs = option_costs(config, self.inputs.items.history_width, spec.seq_len)

    # ------------------------------------------------------------------ forward

    def forward(
        self,
        user_fields: Tensor,
        history: Tensor,
        item_fields: Tensor,
        item_bags: Tensor,
        *,
        sample: Sample,
    ) -> Tensor:
        """``(U, Fu)``, ``(U, L, Fh)``, ``(N, Fi)``, ``(N, G)`` to ``(U + N, D)``.

        A hard sample's architecture computes what it selects and nothing else. Which sample an item
        has where rows have samples of their own: see
        :func:`supernets.towers.rows.weights_of_items`.
        """
        own, vectors, present, items = self.read(user_fields, history, item_fields, item_bags)
        if sample.architecture is not None:
            return self.path(own, vectors, present, items, sample.architecture)
        poolings = cast(nn.ModuleDict, self.inputs.pooling)
        pooled = calculate_weighted_sum(
            sample[self.pooling][:, 0], [pool(vectors, present) for pool in poolings.values()]
        )
        users = self.users(beside(own, pooled), sample[self.user])
        items = self.items(items, weights_of_items(sample[self.item], len(items)))
        return F.normalize(torch.cat((users, items)), dim=-1)

    def read(
        self, user_fields: Tensor, history: Tensor, item_fields: Tensor, item_bags: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What towers are given, all from the tables.

        Returns:
            ``(U, A)`` of the users' fields, ``(U, L, W)`` and ``(U, L)`` bool of the history,
            ``(N, W_i)`` of the items.
        """
        vectors, present = self.inputs.read(history)
        items = self.inputs.items(item_fields, item_bags)
        return self.inputs.own(user_fields), vectors, present, items

    def path(
        self,
        own: Tensor,
        vectors: Tensor,
        present: Tensor,
        items: Tensor,
        architecture: Mapping[str, Option],
    ) -> Tensor:
        """``(U + N, D)`` by one path, from what ``read`` gives; nothing else is computed."""
        poolings = cast(nn.ModuleDict, self.inputs.pooling)
        pooled = poolings[str(architecture[POOLING])](vectors, present)
        users = self.users.path(beside(own, pooled), self._path(architecture, 0))
        found = self.items.path(items, self._path(architecture, 1))
        return F.normalize(torch.cat((users, found)), dim=-1)

    # ------------------------------------------------------------------ one-shot training

    def path_step(
        self,
        optimizer_class: OptimizerClass,
        lr: float,
        init_params: Mapping[str, Any],
        clip: float,
        loss_function: LossFunction,
        device: torch.device,
    ) -> AnchoredPathStep | None:
        """With ``anchored`` a step of its own, see ``dnas.strategies.path_step``."""
        if not self.config.anchored:
            return None
        anchor = make_anchor(self).to(device)
        return AnchoredPathStep(
            self, optimizer_class, lr, init_params, clip, loss_function, device, beside=anchor
        )

    # ------------------------------------------------------------------ costs

    def option_costs(self) -> OptionCosts:
        """Of each pooling and each operation, see :mod:`supernets.autotower.costs`."""
        return self._option_costs

    def fixed_costs(self) -> Mapping[str, float]:
        """The tables, and the layers that align the towers' inputs."""
        tables = (*self.inputs.tables.parameters(), *self.inputs.items.parameters())
        return fixed_costs(
            sum(table.numel() for table in tables),
            self.inputs.width,
            self.inputs.items.width,
            self.config.block_dimension,
        )

    # ------------------------------------------------------------------ build

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> TwoTower:
        """The plain model; with inherited weights its batch norms have the statistics too."""
        architecture = self.validate(architecture)
        kind = str(architecture[POOLING])
        if inherit_weights:
            inputs = copy.deepcopy(self.inputs)
            inputs.pooling = cast(nn.ModuleDict, inputs.pooling)[kind]
        else:
            inputs = make_inputs(self.config, self.spec, self._pooling(kind))
        towers = (
            tower.build(self._path(architecture, side), inherit_weights=inherit_weights)
            for side, tower in enumerate((self.users, self.items))
        )
        return TwoTower(inputs, *towers)

    # ------------------------------------------------------------------ private

    def _path(self, architecture: Mapping[str, Option], side: int) -> list[str]:
        """The operations of the user's (0) or the item's (1) tower."""
        return [str(architecture[key]) for key in (self.user, self.item)[side].keys]

    def _pooling(self, kind: str) -> nn.Module:
        width = self.config.embedding_dimension * len(self.spec.history_names)
        return make_pooling(kind, width, self.spec.seq_len)


def _choice(name: str, blocks: int) -> Choice:
    return Choice(
        name,
        {f"block_{number}": possible_operations(number) for number in range(1, blocks + 1)},
        columns=OPERATIONS,
        row_title="block",
        column_title="operation",
    )
