"""Penalties: how the hardware cost joins the task loss.

Letters: C expected cost of a row's sample, m cost multiplier, alpha coefficient, beta exponent.

.. [Krishna2021dnas] arXiv:2110.14812, equations 5 and 6.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dnas.errors import ConfigError


class Penalty(Protocol):
    """Folds costs into the loss of a theta step.

    Attributes:
        uses_probabilities: True to be given the costs under softmax(theta), which is the exact
            expectation over hard samples; False to be given those of the step's soft sample.
    """

    uses_probabilities: bool

    def __call__(self, task_loss: Tensor, costs: Mapping[str, Tensor]) -> Tensor:
        """The total loss, a scalar.

        Args:
            task_loss: Scalar mean loss of the batch.
            costs: Expected costs by name, each ``(B,)`` or ``(1,)``.
        """

    def after_step(self, costs: Mapping[str, Tensor]) -> None:
        """Called after each theta step with the costs it was given, detached."""

    def check(self, costs: Mapping[str, float]) -> None:
        """Called with the expected costs before the search and at every log interval.

        Raises:
            ConfigError: The penalty has no meaning at these costs.
        """

    def describe(self) -> dict[str, Any]:
        """The settings, as JSON; a checkpoint is resumed only under the same ones."""

    def state_dict(self) -> dict[str, Any]:
        """What must be kept for an exact resume."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""


def _named(costs: Mapping[str, Tensor], metric: str) -> Tensor:
    try:
        return costs[metric]
    except KeyError:
        raise ConfigError(
            f"there is no cost {metric!r}: this search space has {sorted(costs)}"
        ) from None


def _log(cost: Tensor) -> Tensor:
    """log(cost), finite where a soft sample has driven the cost to 0."""
    return torch.log(cost.clamp_min(torch.finfo(cost.dtype).tiny))


class StatelessPenalty:
    """Base of penalties in which nothing adapts; settings are the public attributes."""

    uses_probabilities = False

    def check(self, costs: Mapping[str, float]) -> None:
        """Any cost will do."""

    def describe(self) -> dict[str, Any]:
        return {"penalty": type(self).__name__, **vars(self)}

    def after_step(self, costs: Mapping[str, Tensor]) -> None:
        """Nothing adapts."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""


class NoPenalty(StatelessPenalty):
    """The task loss alone."""

    def __call__(self, task_loss: Tensor, costs: Mapping[str, Tensor]) -> Tensor:
        return task_loss


class LinearPenalty(StatelessPenalty):
    """``TaskLoss + alpha * mean_batch(log(m * C))``, equation 6 of [Krishna2021dnas]_.

    There is no further factor: ``cost_coef`` here is one hundred times as strong as in the
    authors' code, which divides by 100.

    Args:
        cost_coef: alpha.
        cost_multiplier: m, for costs in units that are far from 1.
        metric: Name of the cost.
    """

    def __init__(self, cost_coef: float, cost_multiplier: float = 1.0, *, metric: str) -> None:
        _check_positive("cost_multiplier", cost_multiplier)
        self.cost_coef = cost_coef
        self.cost_multiplier = cost_multiplier
        self.metric = metric

    def __call__(self, task_loss: Tensor, costs: Mapping[str, Tensor]) -> Tensor:
        cost = _named(costs, self.metric)
        return task_loss + self.cost_coef * _log(cost * self.cost_multiplier).mean()


class ExponentialPenalty(StatelessPenalty):
    """``TaskLoss * alpha * mean_batch(log(m * C) ** beta)``, equation 5 of [Krishna2021dnas]_.

    The exponent applies to the logarithm, as printed and as in the authors' code. ``m * C`` must
    exceed 1, where the logarithm of the cost changes its sign and the product loses its meaning: on
    average (``check``), and a row whose sample is cheaper counts as costing 1 / m.

    Args:
        cost_coef: alpha.
        cost_exp: beta.
        cost_multiplier: m.
        metric: Name of the cost.
    """

    def __init__(
        self, cost_coef: float, cost_exp: float, cost_multiplier: float = 1.0, *, metric: str
    ) -> None:
        _check_positive("cost_multiplier", cost_multiplier)
        _check_positive("cost_coef", cost_coef)
        self.cost_coef = cost_coef
        self.cost_exp = cost_exp
        self.cost_multiplier = cost_multiplier
        self.metric = metric

    def __call__(self, task_loss: Tensor, costs: Mapping[str, Tensor]) -> Tensor:
        cost = _named(costs, self.metric) * self.cost_multiplier
        log_cost = _log(cost).clamp_min(1e-6)
        return task_loss * self.cost_coef * (log_cost**self.cost_exp).mean()

    def check(self, costs: Mapping[str, float]) -> None:
        """Refuse a cost at which the logarithm is not positive."""
        cost = costs[self.metric]
        if cost * self.cost_multiplier <= 1.0:
            raise ConfigError(
                f"exponential_cost: {self.metric} is {cost:g}, and log({cost:g} x cost_multiplier "
                f"{self.cost_multiplier:g}) is not positive, which turns equation 5 round; raise "
                "cost_multiplier"
            )


class BudgetPenalty:
    """Costs are to meet targets; the multipliers adapt by dual ascent.

    For each target t with cost C, ``g = log(C / t)`` (scale-free, so that one set of rates serves
    FLOPs and bytes), and the loss of a theta step is the augmented Lagrangian::

        TaskLoss + sum_t (lambda_t * g_t + rho / 2 * g_t ** 2);    lambda_t += rate * g_t

    C is taken under softmax(theta), which is exactly the mean cost of sampled architectures, and
    carries no sampling noise.

    Args:
        targets: Cost name -> target, in the cost's unit.
        rate: Step of the dual ascent for every theta step.
        rho: Weight of the quadratic term, which damps the oscillation of plain dual ascent.
        at_most: False: meet the target from both sides. True: never below 0, so that an
            architecture cheaper than the target is not made dearer.
    """

    uses_probabilities = True

    def __init__(
        self,
        targets: Mapping[str, float],
        *,
        rate: float = 0.01,
        rho: float = 0.5,
        at_most: bool = False,
    ) -> None:
        if not targets:
            raise ConfigError("cost_target: at least one target is needed")
        for name, target in targets.items():
            _check_positive(f"cost_target for {name}", target)
        _check_positive("cost_dual_rate", rate)
        _check_positive("rho", rho)
        self.targets = dict(targets)
        self.rate = rate
        self.rho = rho
        self.at_most = at_most
        self.multipliers: dict[str, Tensor] = {name: torch.zeros(()) for name in targets}

    def _multiplier(self, name: str, device: torch.device) -> Tensor:
        """Changed in place, on the device of the costs: a recorded step finds it there again."""
        if self.multipliers[name].device != device:
            self.multipliers[name] = self.multipliers[name].to(device)
        return self.multipliers[name]

    def _violation(self, name: str, costs: Mapping[str, Tensor]) -> Tensor:
        return _log(_named(costs, name).mean() / self.targets[name])

    def __call__(self, task_loss: Tensor, costs: Mapping[str, Tensor]) -> Tensor:
        total = task_loss
        for name in self.targets:
            g = self._violation(name, costs)
            multiplier = self._multiplier(name, g.device)
            if self.at_most:
                # The augmented Lagrangian of an inequality (Rockafellar): flat once satisfied.
                active = (multiplier + self.rho * g).clamp_min(0.0)
                total = total + (active**2 - multiplier**2) / (2 * self.rho)
            else:
                total = total + multiplier * g + 0.5 * self.rho * g**2
        return total

    def check(self, costs: Mapping[str, float]) -> None:
        """Any cost can be on its way to the target."""

    def describe(self) -> dict[str, Any]:
        return {
            "penalty": type(self).__name__,
            "targets": self.targets,
            "rate": self.rate,
            "rho": self.rho,
            "at_most": self.at_most,
        }

    def after_step(self, costs: Mapping[str, Tensor]) -> None:
        for name in self.targets:
            g = self._violation(name, costs).detach()
            multiplier = self._multiplier(name, g.device)
            multiplier += self.rate * g
            if self.at_most:
                multiplier.clamp_min_(0.0)

    def state_dict(self) -> dict[str, Any]:
        return {"multipliers": {n: value.cpu().clone() for n, value in self.multipliers.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.multipliers = {name: value.clone() for name, value in state["multipliers"].items()}


def make_penalty(
    known: Sequence[str],
    *,
    use_hw_cost: bool,
    exponential_cost: bool = False,
    cost_exp: float = 1.0,
    cost_coef: float = 1.0,
    cost_multiplier: float = 1.0,
    cost_metric: str | None = None,
    cost_target: Mapping[str, float] | None = None,
    cost_dual_rate: float = 0.01,
    cost_at_most: bool = False,
) -> Penalty:
    """The penalty that these settings (of the paper's Table I, and targets) ask for.

    Args:
        known: Names of the supernet's costs.
        use_hw_cost: False: the task loss alone, unless there are targets.
        exponential_cost: Equation 5 instead of 6.
        cost_exp: beta.
        cost_coef: alpha.
        cost_multiplier: m.
        cost_metric: Which cost; may be None if there is only one.
        cost_target: Targets by cost name; they replace equations 5 and 6.
        cost_dual_rate: ``rate`` of the BudgetPenalty.
        cost_at_most: ``at_most`` of the BudgetPenalty.

    Raises:
        ConfigError: An unknown cost, or none named where there are several.
    """
    for name in (*(cost_target or ()), *((cost_metric,) if cost_metric else ())):
        if name not in known:
            raise ConfigError(f"there is no cost {name!r}: this search space has {sorted(known)}")
    if cost_target and (use_hw_cost or exponential_cost):
        raise ConfigError("cost_target replaces equations 5 and 6: drop use_hw_cost or the targets")
    if exponential_cost and not use_hw_cost:
        raise ConfigError("exponential_cost has no effect without use_hw_cost")
    if cost_target:
        return BudgetPenalty(cost_target, rate=cost_dual_rate, at_most=cost_at_most)
    if not use_hw_cost:
        return NoPenalty()
    if cost_metric is None:
        if len(known) != 1:
            raise ConfigError(f"use_hw_cost needs cost_metric, one of {sorted(known)}")
        cost_metric = known[0]
    if exponential_cost:
        return ExponentialPenalty(cost_coef, cost_exp, cost_multiplier, metric=cost_metric)
    return LinearPenalty(cost_coef, cost_multiplier, metric=cost_metric)


def _check_positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} must be a positive number, but got {value}")
