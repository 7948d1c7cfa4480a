"""Which path a step of one-shot training trains: a function of the seed and the step alone.

Warm-up [Zhang2023nasrec]_: "we randomly sample the full supernet at the initial 1/4 of the training
steps, with a probability p that linearly decays from 1 to 0". One coin is flipped for each step, so
that p is the probability of the *whole* supernet.

.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187. Section 5.1.
"""

from __future__ import annotations

import torch

from dnas.core import Architecture, Prior
from dnas.training.seeding import make_generator

_CPU = torch.device("cpu")


def full_path_probability(step: int, warmup_steps: float) -> float:
    """``1 - step / warmup_steps``, at least 0: how likely ``step`` trains the full path."""
    return max(1.0 - step / warmup_steps, 0.0) if warmup_steps > 0 else 0.0


class PathPlan:
    """The paths of a training.

    Args:
        prior: Where paths come from.
        strategy: One of ``prior.strategies``; empty: the first of them.
        warmup_steps: Steps in which the full path may come up; no effect in a space without one.
        seed: Of all paths.

    Raises:
        ConfigError: There is no such strategy.
    """

    def __init__(self, prior: Prior, strategy: str, warmup_steps: float, seed: int) -> None:
        self.prior = prior
        self.strategy = prior.check_strategy(strategy)
        self.warmup_steps = warmup_steps
        self.seed = seed
        self.full_path = prior.full_path()

    def __call__(self, step: int) -> tuple[Architecture, bool]:
        """The path of ``step``, and whether it is the full one."""
        generator = make_generator(_CPU, self.seed, "path", step)
        probability = full_path_probability(step, self.warmup_steps)
        if (
            self.full_path is not None
            and probability > 0.0
            and float(torch.rand((), generator=generator)) < probability
        ):
            return self.full_path, True
        return self.prior.path(self.strategy, generator), False
