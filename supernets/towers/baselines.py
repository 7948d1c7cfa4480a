"""Hand-crafted two-tower models as a search space of one decision: GoogleDNN in three sizes.

GoogleDNN (Yi et al., RecSys 2019, in the three sizes of AutoTower's Table 4): fields of a user and
the mean of the history, fields of an item, each through a chain of fully connected layers.

Letters: B rows, U users, N items, D width of the vectors, K models.

The supernet's vectors are the weighted sums of all models' unit vectors, made unit vectors again.
The models share the tables.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Option, Sample, SuperNet
from dnas.core.cost_terms import OptionCosts
from dnas.core.mixing import calculate_weighted_sum
from dnas.costs.formulas import BYTES_PER_WEIGHT, mlp_flops, mlp_params
from dnas.data.retrieval import TowerSpec
from dnas.models import MLP
from dnas.models.towers import AveragePooling, ItemInputs, TwoTower, UserInputs, dense_tower
from dnas.spaces import register
from supernets.towers.config import TowersConfig
from supernets.towers.rows import weights_of_items
from supernets.towers.space import RetrievalSpace

#: Hidden layers of both towers; a linear layer follows.
HIDDEN: dict[str, tuple[int, ...]] = {
    "googlednn_l": (256, 192, 128),
    "googlednn_m": (512, 256, 128),
    "googlednn_h": (1024, 512, 256, 128),
}
MODEL = "model/kind"
#: Rows of the batch whose score matrix the published FLOPs of baselines include.
PAPER_BATCH = 1024


class TowerBaselinesSuperNet(SuperNet):
    """All baselines for data with these fields; outputs unit vectors, users first.

    Args:
        config: Sizes and options.
        spec: Fields of the data.
    """

    def __init__(self, config: TowersConfig, spec: TowerSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.model = Choice("model", {"kind": list(HIDDEN)})
        self.inputs = _inputs(config, spec)
        self.users = nn.ModuleDict({kind: self._net(kind, self.inputs.width) for kind in HIDDEN})
        self.items = nn.ModuleDict(
            {kind: self._net(kind, self.inputs.items.width) for kind in HIDDEN}
        )

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

        Which sample an item has where rows have samples of their own: see
        :func:`supernets.towers.rows.weights_of_items`.
        """
        users = self.inputs(user_fields, history)
        items = self.inputs.items(item_fields, item_bags)
        if sample.architecture is not None:
            kind = _decided(sample.architecture)
            return F.normalize(
                torch.cat((self.users[kind](users), self.items[kind](items))), dim=-1
            )
        weights = sample[self.model][:, 0]  # (B, K)
        of_items = weights_of_items(weights, len(items))
        mixed = [
            calculate_weighted_sum(rows, [F.normalize(net(x), dim=-1) for net in nets.values()])
            for rows, nets, x in ((weights, self.users, users), (of_items, self.items, items))
        ]
        return F.normalize(torch.cat(mixed), dim=-1)

    def option_costs(self) -> OptionCosts:
        """Of the pair of towers: FLOPs of one user and one item, weights, and both as published.

        ``paper_params`` leaves the tables out. ``paper_flops`` are, in this library's terms, a
        quarter of the towers' FLOPs (the published figures are half of the MACs), and include the
        scores of a row against a batch of 1024.
        """
        sizes = {
            kind: (self._sizes(kind, self.inputs.width), self._sizes(kind, self.inputs.items.width))
            for kind in HIDDEN
        }
        flops = [float(sum(map(mlp_flops, pair))) for pair in sizes.values()]
        params = [float(sum(map(mlp_params, pair))) for pair in sizes.values()]
        scores = PAPER_BATCH * self.config.output_dimension / 2
        tables: dict[str, Sequence[float]] = {
            "flops": flops,
            "params": params,
            "paper_flops": [number / 4 + scores for number in flops],
            "paper_params": params,
        }
        return {name: {"model": [row]} for name, row in tables.items()}

    def fixed_costs(self) -> Mapping[str, float]:
        """The tables, which all models have."""
        weights = sum(parameter.numel() for parameter in self.inputs.parameters())
        return {
            "params": weights,
            "embedding_params": weights,
            "embedding_bytes": weights * BYTES_PER_WEIGHT,
        }

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> TwoTower:
        """The plain model."""
        kind = _decided(self.validate(architecture))
        if inherit_weights:
            # Copied together: the towers of the copy share its tables.
            inputs, user, item = copy.deepcopy((self.inputs, self.users[kind], self.items[kind]))
            return TwoTower(inputs, user, item)
        inputs = _inputs(self.config, self.spec)
        widths = inputs.width, inputs.items.width
        return TwoTower(inputs, *(self._net(kind, width) for width in widths))

    def _sizes(self, kind: str, width: int) -> tuple[int, ...]:
        return (width, *HIDDEN[kind], self.config.output_dimension)

    def _net(self, kind: str, width: int) -> MLP:
        return dense_tower(width, HIDDEN[kind], self.config.output_dimension)


def _inputs(config: TowersConfig, spec: TowerSpec) -> UserInputs:
    dim, sparse = config.embedding_dimension, config.sparse_tables
    items = ItemInputs(spec, dim, sparse=sparse, released_padding=config.released_padding)
    return UserInputs(spec, dim, items, AveragePooling(), sparse=sparse)


def _decided(architecture: Mapping[str, Option]) -> str:
    return str(architecture[MODEL])


class TowerBaselinesSpace(RetrievalSpace):
    """GoogleDNN in three sizes for any data of interactions."""

    name = "tower_baselines"
    config_class = TowersConfig

    def make_supernet(self, config: TowersConfig, spec: TowerSpec) -> TowerBaselinesSuperNet:
        """All baselines for data with these fields."""
        return TowerBaselinesSuperNet(config, spec)


TOWER_BASELINES = register(TowerBaselinesSpace())
