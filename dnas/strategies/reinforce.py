"""REINFORCE [Williams1992]_: a policy that learns which options are good.

Every iteration draws architectures from the policy and moves it along
``mean_n A_n d log pi(a_n) + entropy_weight dH``, where the advantage A of an architecture is how
much lower its score is than the mean of the iteration's other draws, its baseline, in moving
standard deviations, so that learning rates mean the same for all metrics. A draw that is the only
one of its iteration is compared with a moving mean of scores.

ENAS [Pham2018enas]_ has the same estimator for an LSTM that makes one decision after the other, and
trains it and the supernet in turns. This is the variant without an LSTM, as in [Bender2020tunas]_:
decisions are independent given the policy, which works in any space, and the supernet is trained
already.

What is above a cost limit is drawn again, so that the policy is conditioned on the limits, under
which the mean of d log pi is not zero. The draws of an iteration are independent, and a baseline of
the others has the mean score of what is drawn: the estimate then has the mean ``-Cov(score, d log
pi)``, which is the gradient of the conditional mean of the scores with its sign changed, up to the
scale, with limits as without. One that lags behind, such as the moving mean, would add its distance
from that mean times the mean of d log pi.

A network that is drawn again counts, but is not evaluated again: the budget is of evaluations.

.. [Williams1992] R. J. Williams. Simple Statistical Gradient-Following Algorithms for Connectionist
    Reinforcement Learning. Machine Learning 8, 1992.
.. [Pham2018enas] H. Pham et al. Efficient Neural Architecture Search via Parameter Sharing.
    ICML 2018, arXiv:1802.03268.
.. [Bender2020tunas] G. Bender et al. Can Weight Sharing Outperform Random Architecture Search? An
    Investigation With TuNAS. CVPR 2020, arXiv:2008.06120.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError
from dnas.strategies.budget import Budget, BudgetedSearch
from dnas.strategies.policy import Policy
from dnas.training.seeding import make_generator

_CPU = torch.device("cpu")
#: Iterations without anything new, after which the policy is held to have decided.
PATIENCE = 50


@dataclass(frozen=True, kw_only=True)
class ReinforceSettings(Budget):
    """Numbers of a search by REINFORCE.

    Attributes:
        population: Architectures of the first iteration, from the uniform policy.
        children: Architectures of each iteration after it.
        iterations: After the first, if all draws are new. There are more where some are not.
        lr: Learning rate of the policy's logits.
        entropy_weight: Of the sum of all decisions' entropies.
        baseline_decay: Share that the moving mean and variance of scores keep in each iteration.
    """

    lr: float = 0.25
    entropy_weight: float = 0.01
    baseline_decay: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lr > 0:
            raise ConfigError(f"--policy_lr must be positive, but got {self.lr}")
        if not self.entropy_weight >= 0:
            raise ConfigError(f"--entropy_weight must not be negative: {self.entropy_weight}")
        if not 0 <= self.baseline_decay < 1:
            raise ConfigError(f"--baseline_decay must be in [0, 1), but got {self.baseline_decay}")


def advantages_of(scores: torch.Tensor, moving_mean: float) -> torch.Tensor:
    """``(N,)``: by how much each score is lower than the mean of the others.

    With m the mean of all, the mean of the others less score n is ``N / (N - 1) (m - score_n)``.

    Args:
        scores: ``(N,)`` of an iteration, lower is better.
        moving_mean: What a single score is compared with.
    """
    if len(scores) == 1:
        return moving_mean - scores
    shifted = scores - scores[0]  # so that equal scores are exactly zeros, and so is their mean
    return len(scores) / (len(scores) - 1) * (shifted.mean() - shifted)


class ReinforceSearch(BudgetedSearch[ReinforceSettings]):
    """A Strategy, see :mod:`dnas.strategies.strategy`.

    Args:
        super_net: Its decisions are the policy's; knows canonical forms and costs.
        settings: Its numbers.
        cost_limits: Cost name -> the most that an architecture may cost.
        seed: Of all draws.
    """

    name = "reinforce"

    def __init__(
        self,
        super_net: SuperNet,
        settings: ReinforceSettings | None = None,
        *,
        cost_limits: Mapping[str, float] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(super_net, settings or ReinforceSettings(), cost_limits, seed)
        self.super_net = super_net
        self.policy = Policy(super_net)
        #: Iterations in a row without anything new.
        self.still = 0
        #: Moving mean and variance of scores; None before the first finite one.
        self.mean: float | None = None
        self.variance = 0.0
        #: The largest finite score so far: what a failure counts as.
        self.worst = -math.inf

    def ask(self) -> list[Architecture]:
        """Draws from the policy, with as many new networks as are still to be evaluated at most."""
        left = self.evaluations - len(self.proposals.seen)
        if left <= 0 or self.still >= PATIENCE:
            return []
        generator = make_generator(_CPU, self.seed, self.name, self.iteration)
        new: set[str] = set()
        drawn: list[Architecture] = []
        for _ in range(self.settings.children if self.iteration else self.settings.population):
            architecture = self.proposals.cheap(lambda: self.policy.draw(generator))
            if architecture is None:
                break
            drawn.append(architecture)
            new.add(self.super_net.canonical(architecture).id)
            if len(new - self.proposals.seen) == left:
                break
        return drawn

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """The policy learns from all draws, also from those that were known."""
        known = len(self.proposals.seen)
        self.proposals.note(architectures)
        self.still = 0 if len(self.proposals.seen) > known else self.still + 1
        self.iteration += 1
        finite = [float(score) for score in scores if score < math.inf]
        self.worst = max([self.worst, *finite])
        if self.worst == -math.inf:
            return
        told = torch.tensor(scores, dtype=torch.float64).clamp(max=self.worst)
        moving_mean = self._follow(told)
        if self.variance > 0:
            advantages = advantages_of(told, moving_mean) / math.sqrt(self.variance)
            self.policy.ascend(
                architectures,
                advantages,
                lr=self.settings.lr,
                entropy_weight=self.settings.entropy_weight,
            )

    def _follow(self, told: torch.Tensor) -> float:
        """Move the mean of scores, and the variance around it; gives the mean."""
        mean = float(told.mean())
        decay = 0.0
        if self.mean is not None:
            decay = self.settings.baseline_decay
            mean = decay * self.mean + (1 - decay) * mean
        spread = float((told - mean).square().mean())
        self.variance = decay * self.variance + (1 - decay) * spread
        self.mean = mean
        return mean

    def state_dict(self) -> dict[str, Any]:
        """Policy, moments of the scores, iteration, and what was evaluated."""
        return {
            "iteration": self.iteration,
            "still": self.still,
            "policy": self.policy.state_dict(),
            "mean": self.mean,
            "variance": self.variance,
            "worst": self.worst,
            "seen": sorted(self.proposals.seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.iteration, self.still = state["iteration"], state["still"]
        self.policy.load_state_dict(state["policy"])
        self.mean, self.variance = state["mean"], state["variance"]
        self.worst = state["worst"]
        self.proposals.seen = set(state["seen"])
