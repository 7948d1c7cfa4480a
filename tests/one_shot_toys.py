"""A supernet with a linear head, and evaluators that other processes can make."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Choice, HasHead, Sample, SuperNet, UniformPrior
from dnas.data import TensorBatch
from dnas.errors import DataError
from dnas.strategies.evaluator import SharedWeightsEvaluator
from dnas.strategies.fine_tune import FineTune
from dnas.strategies.strategy import Strategy
from dnas.training.task import CLICKS, Metrics
from tests.toys import Recording

HIDDEN = (2, 4, 8)
FUNCTIONS = {"relu": torch.relu, "tanh": torch.tanh, "sin": torch.sin}


class Prefix(SuperNet):
    """``v[:k] f(W x)[:k] + b``: how many hidden units k there are, and the function f."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, HIDDEN[-1]), nn.Linear(HIDDEN[-1], 1)
        self.width = Choice("width", {"hidden": HIDDEN})
        self.function = Choice("function", {"hidden": tuple(FUNCTIONS)})
        units = torch.arange(HIDDEN[-1])
        self.register_buffer("stairs", torch.stack([(units < k).float() for k in HIDDEN]))
        self.stairs: Tensor

    def forward(self, x: Tensor, *, sample: Sample) -> Tensor:
        hidden = self.first(x)
        outputs = [function(hidden) for function in FUNCTIONS.values()]
        mixed = self.calculate_weighted_sum(sample[self.function][:, 0], outputs)
        return self.last(mixed * (sample[self.width][:, 0] @ self.stairs)).squeeze(1)

    def head_features(self, x: Tensor, *, architecture: Architecture) -> Tensor:
        function = FUNCTIONS[str(architecture["function/hidden"])]
        return function(self.first(x))[:, : int(architecture["width/hidden"])]

    def head(self, architecture: Architecture) -> tuple[Tensor, Tensor]:
        width = int(architecture["width/hidden"])
        return self.last.weight[0, :width].detach().clone(), self.last.bias[0].detach().clone()

    def option_costs(self) -> dict[str, dict[str, list[list[float]]]]:
        return {"units": {"width": [[float(k) for k in HIDDEN]]}}

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        raise NotImplementedError


assert issubclass(Prefix, HasHead)


class FullPathPrior(UniformPrior):
    """The uniform prior of ``Scales``, with a full path: the largest options."""

    def full_path(self) -> Architecture:
        return Architecture(
            {
                key: max(row)
                for choice in self.super_net.choices.values()
                for key, row in zip(choice.keys, choice.options, strict=True)
            }
        )


class Normed(SuperNet):
    """``v . dropout(norm(c W x)) + b`` for a scale c: one batch norm for all scales, two unused."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 1)
        self.norm, self.dropout = nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.unused = nn.BatchNorm1d(6)
        self.without_statistics = nn.BatchNorm1d(6, track_running_stats=False)
        self.scale = Choice("scale", {"of": (1, 4, 16), "sign": (1, -1)})

    def forward(self, x: Tensor, *, sample: Sample) -> Tensor:
        scale, sign = (sample[self.scale] * self.scale.numbers.float()).sum(-1).unbind(1)
        hidden = self.norm(self.first(x) * (scale * sign).unsqueeze(1))
        return self.last(self.dropout(hidden)).squeeze(1)

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Module:
        raise NotImplementedError


def recalibrated_evaluator(super_net: SuperNet) -> SharedWeightsEvaluator:
    """Evaluates ``Normed`` with statistics of each candidate."""
    return SharedWeightsEvaluator(
        super_net,
        CLICKS,
        Recording(regression_batches(3, seed=5)),
        recalibration_rows=Recording(regression_batches(4, seed=6)),
    )


def regression_batches(steps: int, rows: int = 16, seed: int = 0) -> list[TensorBatch]:
    """``y`` in {0, 1} of four numbers."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(steps):
        x = torch.randn(rows, 4, generator=generator)
        noise = torch.randn(rows, generator=generator)
        found.append(TensorBatch((x,), (x[:, 0].sin() + x[:, 1] + 0.3 * noise > 0).float()))
    return found


def distance(architecture: Architecture) -> float:
    """How many decisions of ``Scales`` are not what they should be: an objective to plant."""
    wanted = (1, 4, 2, 2, 4, 1, 1, 2, 4, 4, 1, 2)
    return float(sum(architecture[f"scale/d{d}"] != wanted[d] for d in range(len(architecture))))


def asked_and_scored(
    strategy: Strategy, iterations: int = 10**6
) -> list[list[tuple[Architecture, float]]]:
    """All that ``strategy`` asks for, by iteration, with its :func:`distance`, which it is told."""
    found: list[list[tuple[Architecture, float]]] = []
    while len(found) < iterations and (asked := strategy.ask()):
        scores = [distance(architecture) for architecture in asked]
        strategy.tell(asked, scores)
        found.append(list(zip(asked, scores, strict=True)))
    return found


class Planted:
    """Evaluates by :func:`distance`, and remembers what it was asked for.

    Args:
        super_net: Not used.
    """

    def __init__(self, super_net: SuperNet | None = None) -> None:
        self.asked: list[Architecture] = []

    def __call__(self, architecture: Architecture) -> Metrics:
        self.asked.append(architecture)
        return {"logloss": distance(architecture)}


class Faulty(Planted):
    """Goes wrong at the architectures whose first decision is 4.

    Args:
        how: ``"killed"``, ``"user"`` or ``"defect"``.
        super_net: Not used.
    """

    def __init__(self, how: str, super_net: SuperNet) -> None:
        super().__init__(super_net)
        self.how = how

    def __call__(self, architecture: Architecture) -> Metrics:
        if architecture["scale/d0"] == 4:
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "user":
                raise DataError("the file is gone")
            raise ZeroDivisionError("a defect")
        return super().__call__(architecture)


def no_evaluator(super_net: SuperNet) -> Planted:
    """Fails where an evaluator is made."""
    raise DataError("there is no data")


class WeightsAndProcess:
    """Metrics that say which process evaluated, and with which weights.

    Args:
        folder: A file named by the process is made there.
        super_net: Its weights are read.
    """

    def __init__(self, folder: Path, super_net: SuperNet) -> None:
        self.folder = folder
        self.super_net = super_net

    def __call__(self, architecture: Architecture) -> Metrics:
        (self.folder / str(os.getpid())).touch()
        total = sum(float(p.detach().sum()) for p in self.super_net.parameters())
        return {"logloss": distance(architecture), "weights": total}


def tuned_evaluator(super_net: SuperNet) -> SharedWeightsEvaluator:
    """Evaluates ``Prefix`` after fine-tuning."""
    return SharedWeightsEvaluator(
        super_net,
        CLICKS,
        Recording(regression_batches(3, seed=5)),
        tuning_rows=Recording(regression_batches(4, seed=6)),
        fine_tune=FineTune(steps=20, batch_size=8),
    )
