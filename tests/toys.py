"""Small supernets, batches and managers that several tests use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Choice, Sample, SuperNet
from dnas.data import ClickBatch, DataSpec, TensorBatch
from dnas.strategies.search_manager import SearchManager
from dnas.training.seeding import seed_everything
from supernets import EMB_CARD, DLRMSuperNet
from supernets.config import DLRMSpaceConfig

CARDINALITIES = (50, 7, 3)
SPEC = DataSpec(("I1", "I2"), ("C1", "C2", "C3"), CARDINALITIES)
SPACE = DLRMSpaceConfig(
    embedding_dimension=4,
    arch_mlp_bot=(6,),
    arch_mlp_top=(5,),
    mlp_size_options=(4, 6),
    mlp_bottom_layers=2,
    mlp_top_layers=3,
    dim_options=(1, 4),
    cardinality_options=("1.0", "0.1", "2"),
)

#: Flags of a small synthetic data set and a small backbone; a data cache must be added.
DATA_FLAGS = (
    "--data_set=synthetic",
    "--synthetic_rows=400",
    "--synthetic_features=3",
    "--synthetic_values=40",
)
SPACE_FLAGS = ("--embedding_dimension=4", "--arch_mlp_bot=6", "--arch_mlp_top=6")


class Scales(SuperNet):
    """``sum_d option_d * w_d * x_d``: each decision is a factor, which is also its cost."""

    def __init__(
        self, decisions: int = 4, options: tuple[int, ...] = (1, 2, 4), name: str = "scale"
    ) -> None:
        super().__init__()
        self.choice = Choice(name, {f"d{d}": options for d in range(decisions)})
        self.w = nn.Parameter(torch.ones(decisions))
        self.register_buffer("factors", torch.tensor([options] * decisions, dtype=torch.float32))
        self.factors: Tensor

    def forward(self, x: Tensor, *, sample: Sample) -> Tensor:
        scale = (sample[self.choice] * self.factors.to(x.dtype)).sum(-1)  # (B, D)
        return (x * self.w * scale).sum(1)

    def option_costs(self) -> dict[str, dict[str, list[list[float]]]]:
        return {"units": {self.choice.name: self.factors.tolist()}}

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        architecture = self.validate(architecture)
        linear = nn.Linear(len(self.w), 1, bias=False)
        with torch.no_grad():
            factors = torch.tensor([float(architecture[key]) for key in self.choice.keys])
            linear.weight.copy_(self.w * factors)
        return nn.Sequential(linear, nn.Flatten(0))


def scale_batches(steps: int = 4, rows: int = 32, decisions: int = 4) -> list[TensorBatch]:
    """Batches whose labels need every factor to be 4."""
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(steps):
        x = torch.randn(rows, decisions, generator=generator)
        found.append(TensorBatch((x,), 4.0 * x.sum(1)))
    return found


def click_batches(steps: int = 4, rows: int = 16, seed: int = 0) -> list[ClickBatch]:
    """Random clicks for ``SPEC``."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor(CARDINALITIES)
    return [
        ClickBatch(
            torch.randn(rows, 2, generator=generator),
            (torch.rand(rows, 3, generator=generator) * counts).long(),
            torch.randint(2, (rows,), generator=generator).float(),
        )
        for _ in range(steps)
    ]


def card_net(seed: int = 3) -> DLRMSuperNet:
    """A small DLRM with searched cardinalities."""
    seed_everything(seed)
    return EMB_CARD.make_supernet(SPACE, SPEC)


def click_manager(net: SuperNet | None = None, **changes: Any) -> SearchManager:
    """A search of 5 weights and 5 theta steps an epoch on random clicks."""
    arguments: dict[str, Any] = {
        "w_dataloader": click_batches(5, seed=1),
        "m_dataloader": click_batches(5, seed=2),
        "loss_function": nn.functional.binary_cross_entropy_with_logits,
        "n_total_s_net_training_epochs": 3,
        "num_warmup_epochs": 1,
        "n_alt_train_amt": 1,
        "arch_sampling": {2: 3},
        "weights_initial_lrs": [0.1],
        "divergence_factor": 1e6,
    }
    return SearchManager(net or card_net(), **{**arguments, **changes})


def scale_manager(net: SuperNet | None = None, **changes: Any) -> SearchManager:
    """A search over ``Scales`` with fixed weights."""
    arguments: dict[str, Any] = {
        "w_dataloader": scale_batches(),
        "m_dataloader": scale_batches(),
        "loss_function": nn.functional.mse_loss,
        "n_total_s_net_training_epochs": 1,
        "num_warmup_epochs": 0,
        "weights_initial_lrs": [0.0],
        "divergence_factor": 1e6,
    }
    return SearchManager(net or Scales(), **{**arguments, **changes})


def snapshot(parameters: Any) -> list[Tensor]:
    """Copies of parameters."""
    return [parameter.detach().clone() for parameter in parameters]


def all_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    """Whether two lists of tensors agree in every bit."""
    return len(first) == len(second) and all(map(torch.equal, first, second))


class Recording:
    """A loader that remembers which steps were asked for."""

    def __init__(self, batches: list[Any]) -> None:
        self.items = batches
        self.steps: list[int] = []

    def __len__(self) -> int:
        return len(self.items)

    def batches(self, start: int, stop: int) -> Iterator[Any]:
        for step in range(start, stop):
            self.steps.append(step)
            yield self.items[step % len(self.items)]
