"""Which path a step of one-shot training trains: a function of the seed and the step alone.

Warm-up [Zhang2023nasrec]_: "we randomly sample the full supernet at the initial 1/4 of the training
steps, with a probability p that linearly decays from 1 to 0". One coin is flipped for each step, so
that p is the probability of the *whole* supernet.

.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187. Section 5.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dnas.core import Architecture, Prior
from dnas.errors import ConfigError
from dnas.training.seeding import make_generator

_CPU = torch.device("cpu")


def full_path_probability(step: int, warmup_steps: float) -> float:
    """``1 - step / warmup_steps``, at least 0: how likely ``step`` trains the full path."""
    return max(1.0 - step / warmup_steps, 0.0) if warmup_steps > 0 else 0.0


@dataclass(frozen=True)
class PathPlan:
    """The paths of a training.

    Attributes:
        prior: Where paths come from.
        strategy: One of ``prior.strategies``.
        warmup_steps: Steps in which the full path may come up; no effect in a space without one.
        seed: Of all paths.
    """

    prior: Prior
    strategy: str
    warmup_steps: float
    seed: int

    def __post_init__(self) -> None:
        self.prior.check_strategy(self.strategy)
        if not self.warmup_steps >= 0:
            raise ConfigError(f"warmup_steps must not be negative, but got {self.warmup_steps}")

    def __call__(self, step: int) -> tuple[Architecture, bool]:
        """The path of ``step``, and whether it is the full one."""
        generator = make_generator(_CPU, self.seed, "path", step)
        probability = full_path_probability(step, self.warmup_steps)
        if probability > 0.0:
            full = self.prior.full_path()
            if full is not None and float(torch.rand((), generator=generator)) < probability:
                return full, True
        return self.prior.path(self.strategy, generator), False
