"""What a search watches while it runs: theta's soundness, expected costs, and their targets."""

from __future__ import annotations

import logging

import torch

from dnas.core import SuperNet
from dnas.costs import BudgetPenalty
from dnas.errors import DivergenceError

logger = logging.getLogger(__name__)


def check_theta(super_net: SuperNet, step: int) -> None:
    """Refuse theta that is not finite after ``step``, which no loss need show.

    Raises:
        DivergenceError: theta of some Choice is not finite.
    """
    for name, theta in super_net.theta_parameters.items():
        if not bool(torch.isfinite(theta).all()):
            raise DivergenceError(
                f"theta of choice {name!r} is not finite after step {step}; lower arch_params_lr "
                "or check the costs",
                step=step,
                last_good={},
            )


def expected_costs(super_net: SuperNet) -> dict[str, float]:
    """Mean costs of sampled architectures."""
    with torch.no_grad():
        costs = super_net.expected_cost(super_net.probability_sample())
    return {name: float(cost.mean()) for name, cost in costs.items()}


def report_targets(super_net: SuperNet, penalty: BudgetPenalty, experiment_id: str) -> None:
    """Log how near to their targets sampled architectures are; a warning where they are not."""
    costs = expected_costs(super_net)
    for name, target in penalty.targets.items():
        ratio = costs[name] / target
        missed = ratio > 1.05 or (ratio < 0.95 and not penalty.at_most)
        logger.log(
            logging.WARNING if missed else logging.INFO,
            "%s: sampled architectures cost %.6g %s on average, %.3f of the target%s",
            experiment_id,
            costs[name],
            name,
            ratio,
            "; train theta for longer, or the space may not reach it" if missed else "",
        )
