"""What each hand-crafted two-tower model is made of, and what its parts cost.

All have the same chains of fully connected layers in three sizes, and differ in how they read:

- GoogleDNN (Yi et al., RecSys 2019): the user's fields beside the mean of the history.
- SENET (Huang et al., RecSys 2019): the same fields, each times a weight that depends on all.
- BST (Chen et al., 2019): a Transformer layer over the history, whose positions then are averaged.
- MIND (Li et al., CIKM 2019): K interests from the history by routing; each goes beside the user's
  fields through the same layers, so that a user has K vectors. An item is the mean of its fields,
  without layers, and all vectors have the dimension of a field.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from dnas.costs import count_params
from dnas.costs.formulas import linear_flops
from dnas.models.towers import (
    AveragePooling,
    CapsulePooling,
    FieldExcitation,
    FieldMean,
    TransformerPooling,
    TwoTower,
    UserInputs,
    dense_tower,
)
from dnas.models.towers.norms import Norm
from supernets.towers.baselines_config import TowerBaselinesConfig

#: Hidden layers by size, of both towers; a linear layer follows.
HIDDEN: dict[str, tuple[int, ...]] = {
    "l": (256, 192, 128),
    "m": (512, 256, 128),
    "h": (1024, 512, 256, 128),
}
MODELS = ("googlednn", "senet", "bst", "mind")
KINDS = tuple(f"{model}_{size}" for model in MODELS for size in HIDDEN)


class Parts(NamedTuple):
    """What a model has besides the tables.

    Attributes:
        pooling: Of the history.
        user: From the user's inputs to the user's vectors.
        item: From an item's inputs to its vector.
    """

    pooling: nn.Module
    user: nn.Module
    item: nn.Module


class TowerCosts(NamedTuple):
    """Costs of a tower for one row, without tables.

    Attributes:
        flops: 2 x MACs.
        params: Weights.
        normalized: Numbers that norms of dense layers normalize.
    """

    flops: int
    params: int
    normalized: int


def baseline_parts(kind: str, config: TowerBaselinesConfig, inputs: UserInputs) -> Parts:
    """New parts of a model that reads ``inputs``."""
    model, size = kind.split("_")
    dim, hidden, out = config.embedding_dimension, HIDDEN[size], output_width(kind, config)
    if model == "mind":
        capsules = CapsulePooling(
            dim,
            inputs.seq_len,
            interests=config.mind_interests,
            iterations=config.mind_iterations,
        )
        return Parts(capsules, dense_tower(inputs.own_width + dim, hidden, out), FieldMean(dim))
    pooling: nn.Module = AveragePooling()
    if model == "bst":
        width = inputs.items.history_width
        pooling = TransformerPooling(
            width,
            inputs.seq_len,
            heads=config.bst_heads,
            feed_forward=config.bst_feed_forward or width,
            dropout=config.bst_dropout,
        )
    nets: list[nn.Module] = []
    for width in (inputs.width, inputs.items.width):
        norm = None if config.dense_norm == "none" else config.dense_norm
        net = dense_tower(width, hidden, out, norm=norm)
        if model == "senet":
            excitation = FieldExcitation(width // dim, config.senet_reduction)
            nets.append(nn.Sequential(excitation, net))
        else:
            nets.append(net)
    return Parts(pooling, *nets)


def output_width(kind: str, config: TowerBaselinesConfig) -> int:
    """Width of a model's vectors."""
    return config.embedding_dimension if kind.startswith("mind") else config.output_dimension


def assembled(inputs: UserInputs, parts: Parts) -> TwoTower:
    """The model of these tables and parts; ``inputs`` reads through their pooling from now on."""
    inputs.pooling = parts.pooling
    return TwoTower(inputs, parts.user, parts.item)


def tower_costs(parts: Parts) -> tuple[TowerCosts, TowerCosts]:
    """Of a user, the pooling of the history among it, and of an item."""
    pooling, user = parts.pooling, _net_costs(parts.user)
    times = pooling.interests if isinstance(pooling, CapsulePooling) else 1
    flops = times * user.flops
    if isinstance(pooling, CapsulePooling | TransformerPooling):
        flops += pooling.flops
    params = user.params + count_params(pooling)
    return TowerCosts(flops, params, times * user.normalized), _net_costs(parts.item)


def _net_costs(net: nn.Module) -> TowerCosts:
    linear = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    norms = [layer for layer in net.modules() if isinstance(layer, Norm)]
    return TowerCosts(
        sum(linear_flops(layer.in_features, layer.out_features) for layer in linear),
        count_params(net),
        sum(norm.weight.numel() for norm in norms),
    )
