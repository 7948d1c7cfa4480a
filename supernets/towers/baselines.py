"""Hand-crafted two-tower models as a search space of one decision: four models in three sizes.

:mod:`supernets.towers.baseline_models` says what they are. Hidden layers are those of AutoTower's
Table 4, whose parameters and FLOPs GoogleDNN, SENET and MIND have exactly (with
``dense_norm="batch"``). BST's Transformer layer is not the table's, which no form of the published
description gives: BST-L has 0.22 M parameters on MovieLens, 0.43 M there; and the table's FLOPs
leave the Transformer out, while ours count it.

Letters: B rows, U users, N items, D width of the vectors, K vectors of a user, M models.

The supernet's vectors are the weighted sums of all models' unit vectors, made unit vectors again.
Where models differ in their outputs, the smaller ones are written as the larger ones without a
change of any score: a user's only vector K times, and narrow vectors with zeros behind. The models
share the tables.

A hard sample's architecture is one model, and nothing else is computed. Of other samples, models
without a weight in any row are left out on the CPU, and outputs are as large as those of the
largest of the others: one-hot weights give what the built model gives. Elsewhere every model is
computed, and outputs are as large as those of the largest of all: to look at the weights would stop
the device at each step, and cannot be recorded as a CUDA graph. Scores are the same.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Option, Sample, SuperNet
from dnas.core.cost_terms import OptionCosts
from dnas.core.mixing import calculate_weighted_sum
from dnas.costs.formulas import BYTES_PER_WEIGHT
from dnas.data.retrieval import TowerSpec
from dnas.models.towers import AveragePooling, TwoTower, beside, join, unit_vectors
from dnas.spaces import register
from supernets.towers.baseline_models import (
    KINDS,
    Parts,
    assembled,
    baseline_parts,
    output_width,
    tower_costs,
)
from supernets.towers.baselines_config import TowerBaselinesConfig
from supernets.towers.inputs import make_inputs
from supernets.towers.rows import weights_of_items
from supernets.towers.space import RetrievalSpace

MODEL = "model/kind"
#: Rows of the batch whose score matrix the published FLOPs of baselines include.
PAPER_BATCH = 1024


class TowerBaselinesSuperNet(SuperNet):
    """All baselines for data with these fields; outputs unit vectors, users first.

    Args:
        config: Sizes and options.
        spec: Fields of the data.
    """

    def __init__(self, config: TowerBaselinesConfig, spec: TowerSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = spec
        self.model = Choice("model", {"kind": list(KINDS)})
        self.inputs = make_inputs(config, spec, AveragePooling())
        parts = {kind: baseline_parts(kind, config, self.inputs) for kind in KINDS}
        self.poolings = nn.ModuleDict({kind: part.pooling for kind, part in parts.items()})
        self.users = nn.ModuleDict({kind: part.user for kind, part in parts.items()})
        self.items = nn.ModuleDict({kind: part.item for kind, part in parts.items()})
        # Once: to walk through all models takes longer than to add up what one costs.
        self._option_costs = self._costs_of_models()

    def forward(
        self,
        user_fields: Tensor,
        history: Tensor,
        item_fields: Tensor,
        item_bags: Tensor,
        *,
        sample: Sample,
    ) -> Tensor:
        """``(U, Fu)``, ``(U, L, Fh)``, ``(N, Fi)``, ``(N, G)`` to ``(U + N, D)``, or to
        ``(U + N, K, D)`` as :func:`dnas.models.towers.join` gives them.

        Which sample an item has where rows have samples of their own: see
        :func:`supernets.towers.rows.weights_of_items`.
        """
        own = self.inputs.own(user_fields)
        vectors, present = self.inputs.read(history)
        items = self.inputs.items(item_fields, item_bags)

        def outputs(kind: str) -> tuple[Tensor, Tensor]:
            read = beside(own, self.poolings[kind](vectors, present))
            return unit_vectors(self.users[kind], read), unit_vectors(self.items[kind], items)

        if sample.architecture is not None:
            return join(*outputs(_decided(sample.architecture)))
        weights = sample[self.model][:, 0]  # (B, M)
        columns = _with_a_weight(weights)
        if len(columns) < len(KINDS):
            weights = weights[:, columns]
        of_items = weights_of_items(weights, len(items))
        users_of, items_of = zip(*(outputs(KINDS[column]) for column in columns), strict=True)
        mixed_users = calculate_weighted_sum(weights, _alike(users_of))
        mixed_items = calculate_weighted_sum(of_items, _alike(items_of))
        return join(F.normalize(mixed_users, dim=-1), F.normalize(mixed_items, dim=-1))

    def option_costs(self) -> OptionCosts:
        """Of the pair of towers: FLOPs of one user and one item, weights, and both as published.

        ``paper_params`` leaves the tables out. ``paper_flops`` are, in this library's terms, a
        quarter of the towers' FLOPs (the published figures are half of the MACs), and include the
        scores of a row against a batch of 1024 and half of what batch norms normalize.
        """
        return self._option_costs

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
            inputs, parts = copy.deepcopy((self.inputs, self._parts(kind)))
        else:
            inputs = make_inputs(self.config, self.spec, AveragePooling())
            parts = baseline_parts(kind, self.config, inputs)
        return assembled(inputs, parts)

    def _costs_of_models(self) -> OptionCosts:
        tables: dict[str, list[float]] = {name: [] for name in _COSTS}
        for kind in KINDS:
            user, item = tower_costs(self._parts(kind))
            flops, params = user.flops + item.flops, user.params + item.params
            others = PAPER_BATCH * output_width(kind, self.config)
            others += user.normalized + item.normalized
            row = (flops, params, user.flops, item.flops, user.params, item.params,
                   flops / 4 + others / 2, params)  # fmt: skip
            for name, number in zip(_COSTS, row, strict=True):
                tables[name].append(number)
        return {name: {"model": [row]} for name, row in tables.items()}

    def _parts(self, kind: str) -> Parts:
        return Parts(self.poolings[kind], self.users[kind], self.items[kind])


#: Columns of the costs that differ between models.
_COSTS = (
    "flops",
    "params",
    "user_flops",
    "item_flops",
    "user_params",
    "item_params",
    "paper_flops",
    "paper_params",
)


def _with_a_weight(weights: Tensor) -> list[int]:
    """Columns of ``(B, M)`` that are not 0 in all rows; all, where the weights are to learn, or
    where the host would have to wait for a device."""
    if weights.requires_grad or weights.device.type != "cpu":
        return list(range(weights.shape[1]))
    return (weights != 0).any(0).nonzero()[:, 0].tolist()


def _alike(vectors: Sequence[Tensor]) -> list[Tensor]:
    """Vectors of all models in the shape of the largest, ``(U, K, D)`` or ``(N, D)``, with the same
    inner products: a single one of a user K times, a narrow one with zeros behind."""
    width = max(found.shape[-1] for found in vectors)
    places = max(vectors, key=Tensor.dim).shape[1:-1]  # (K,), or () where all have single ones
    alike = []
    for found in vectors:
        if places and found.dim() == 2:
            found = found.unsqueeze(1).expand(-1, *places, -1)
        alike.append(F.pad(found, (0, width - found.shape[-1])))
    return alike


def _decided(architecture: Mapping[str, Option]) -> str:
    return str(architecture[MODEL])


class TowerBaselinesSpace(RetrievalSpace):
    """GoogleDNN, SENET, BST and MIND in three sizes for any data of interactions."""

    name = "tower_baselines"
    config_class = TowerBaselinesConfig

    def make_supernet(
        self, config: TowerBaselinesConfig, spec: TowerSpec
    ) -> TowerBaselinesSuperNet:
        """All baselines for data with these fields."""
        return TowerBaselinesSuperNet(config, spec)


TOWER_BASELINES = register(TowerBaselinesSpace())
