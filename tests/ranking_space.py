"""A tiny search space with all that a study of rank correlation can use: settings, several ways to
sample paths, a linear head.

Four blocks of two units look at the dense columns and at embeddings of the ids; each block takes
one of three functions or is off; a linear layer makes the logit of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Prior, Sample, SuperNet
from dnas.data import DataConfig, DataSpec, prepare
from dnas.spaces import Prepared, SearchSpace
from dnas.training.task import CLICKS

BLOCKS, UNITS, DIM = 4, 2, 4
FUNCTIONS = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "square": torch.square,
    "off": torch.zeros_like,
}


class Blocks(nn.Module):
    """The weights, and the forward pass for a fixed function of each block."""

    def __init__(self, spec: DataSpec, doubled: bool) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(rows, DIM) for rows in spec.cardinalities)
        width = len(spec.dense_names) + DIM * len(spec.cardinalities)
        self.blocks = nn.ModuleList(nn.Linear(width, UNITS) for _ in range(BLOCKS))
        self.last = nn.Linear(BLOCKS * UNITS, 1)
        self.factor = 2.0 if doubled else 1.0

    def hidden(self, dense: Tensor, ids: Tensor) -> list[Tensor]:
        """``(B, UNITS)`` of each block, before its function."""
        parts = [table(ids[:, i]) for i, table in enumerate(self.tables)]
        x = self.factor * torch.cat([dense, *parts], 1)
        return [block(x) for block in self.blocks]

    def features(self, dense: Tensor, ids: Tensor, chosen: list[str]) -> Tensor:
        """``(B, BLOCKS * UNITS)`` inputs of the last layer."""
        hidden = self.hidden(dense, ids)
        return torch.cat([FUNCTIONS[f](h) for f, h in zip(chosen, hidden, strict=True)], 1)


class Plain(nn.Module):
    """One architecture."""

    def __init__(self, net: Blocks, chosen: list[str]) -> None:
        super().__init__()
        self.net, self.chosen = net, chosen

    def forward(self, dense: Tensor, ids: Tensor) -> Tensor:
        return self.net.last(self.net.features(dense, ids, self.chosen)).squeeze(1)


class Functions(SuperNet):
    """All of them."""

    def __init__(self, spec: DataSpec, doubled: bool) -> None:
        super().__init__()
        self.data_spec, self.doubled = spec, doubled
        self.net = Blocks(spec, doubled)
        self.choice = Choice("function", {f"block{i}": list(FUNCTIONS) for i in range(BLOCKS)})

    def forward(self, dense: Tensor, ids: Tensor, *, sample: Sample) -> Tensor:
        weights = sample[self.choice]
        mixed = [
            self.calculate_weighted_sum(weights[:, i], [f(h) for f in FUNCTIONS.values()])
            for i, h in enumerate(self.net.hidden(dense, ids))
        ]
        return self.net.last(torch.cat(mixed, 1)).squeeze(1)

    def option_costs(self) -> dict[str, Any]:
        return {"operations": {"function": [[1.0, 2.0, 1.5, 0.0]] * BLOCKS}}

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        net = Blocks(self.data_spec, self.doubled)
        if inherit_weights:
            net.load_state_dict(self.net.state_dict())
        return Plain(net, self._chosen(architecture))

    def head_features(self, dense: Tensor, ids: Tensor, *, architecture: Architecture) -> Tensor:
        return self.net.features(dense, ids, self._chosen(architecture))

    def head(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        last = self.net.last
        return last.weight.detach()[0].clone(), last.bias.detach()[0].clone()

    def _chosen(self, architecture: Architecture) -> list[str]:
        valid = self.validate(architecture)
        return [str(valid[key]) for key in self.choice.keys]


class SomeBlocks(Prior):
    """Candidates are uniform; paths are too, or have a single block that is on."""

    strategies = ("any", "single")

    def __init__(self, super_net: SuperNet) -> None:
        self.super_net = super_net

    def candidate(self, generator: torch.Generator) -> Architecture:
        return self.super_net.random_architecture(generator)

    def path(self, strategy: str, generator: torch.Generator) -> Architecture:
        architecture = self.candidate(generator)
        if self.check_strategy(strategy) == "any":
            return architecture
        on = int(torch.randint(BLOCKS, (), generator=generator))
        return architecture.replacing(
            {f"function/block{i}": "off" for i in range(BLOCKS) if i != on}
        )

    def mutate(self, architecture: Architecture, generator: torch.Generator) -> Architecture:
        return self.candidate(generator)


@dataclass(frozen=True, kw_only=True)
class FunctionsConfig:
    """Settings of the space."""

    doubled: bool = False
    """Inputs are doubled: other networks with the same decisions."""


class FunctionsSpace(SearchSpace):
    """See the module."""

    name = "functions"
    config_class = FunctionsConfig
    data_class = DataConfig
    task = CLICKS
    default_cost = "operations"

    def prepare(self, data_config: DataConfig) -> Prepared:
        return prepare(data_config)

    def make_supernet(self, config: FunctionsConfig, spec: DataSpec) -> Functions:
        return Functions(spec, config.doubled)

    def prior(self, config: FunctionsConfig, super_net: SuperNet) -> Prior:
        return SomeBlocks(super_net)

    def spec_from_json(self, value: Mapping[str, Any]) -> DataSpec:
        return DataSpec.from_json(dict(value))


SPACE = FunctionsSpace()
