"""Moving theta the last bit to its cost targets, before architectures are sampled.

Dual ascent keeps the expected cost near its target, but a search ends at some step of an
oscillation, and decisions that are nearly taken move in large steps. This closes the rest of the
gap exactly: theta moves along the gradient of log(cost), which changes the decisions that are still
open and cheap to change most, and leaves those that are taken alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from dnas.core import SuperNet
from dnas.errors import ConfigError

#: Relative gaps below this are left alone.
TOLERANCE = 0.01
#: Longest move in one round, in units of logits of the decision that moves most.
_LONGEST = 4.0
_ROUNDS = 12


def meet_targets(
    super_net: SuperNet, targets: Mapping[str, float], *, at_most: bool = False
) -> dict[str, float]:
    """Shift theta in place until sampled architectures cost what they should on average.

    Several targets are met in turn, round by round. A target that the space cannot reach is
    approached as far as it goes.

    Args:
        super_net: Its theta is moved.
        targets: Cost name -> target.
        at_most: Leave costs below their target alone.

    Returns:
        For each target the ratio of the expected cost to it, afterwards.
    """
    for _ in range(_ROUNDS):
        if not any([_approach(super_net, name, t, at_most) for name, t in targets.items()]):
            break
    return {name: math.exp(_gap(super_net, name, target)) for name, target in targets.items()}


def check_reachable(
    super_net: SuperNet, targets: Mapping[str, float], *, at_most: bool = False
) -> None:
    """Refuse targets for costs that are the same for every architecture, and something else.

    Raises:
        ConfigError: There is one; no search could meet it.
    """
    with _learning(super_net.architecture_parameters()):
        costs = super_net.expected_cost(super_net.probability_sample())
    for name, target in targets.items():
        gap = _gap(super_net, name, target)
        if costs[name].requires_grad or abs(gap) < TOLERANCE or (at_most and gap < 0):
            continue
        raise ConfigError(
            f"--cost_target {name}={target:g}: {name} is {float(costs[name].mean()):g} for every "
            "architecture of this space, so that no search can change it; leave that target out"
        )


@contextmanager
def _learning(thetas: Sequence[nn.Parameter]) -> Iterator[None]:
    """With gradients to theta, whichever phase the search is in."""
    flags = [theta.requires_grad for theta in thetas]
    try:
        with torch.enable_grad():
            for theta in thetas:
                theta.requires_grad_(True)
            yield
    finally:
        for theta, flag in zip(thetas, flags, strict=True):
            theta.requires_grad_(flag)


def _gap(super_net: SuperNet, name: str, target: float) -> float:
    """log(expected cost / target)."""
    with torch.no_grad():
        cost = super_net.expected_cost(super_net.probability_sample())[name]
    return math.log(max(float(cost.mean()), 1e-30) / target)


def _approach(super_net: SuperNet, name: str, target: float, at_most: bool) -> bool:
    """One line search along the gradient of the cost; whether anything was moved."""
    gap = _gap(super_net, name, target)
    if abs(gap) < TOLERANCE or (at_most and gap < 0):
        return False
    thetas = super_net.architecture_parameters()
    with _learning(thetas):
        cost = super_net.expected_cost(super_net.probability_sample())[name].mean()
        if not cost.requires_grad:
            return False  # the same for every architecture
        gradients = torch.autograd.grad(cost.log(), thetas, allow_unused=True)
    longest = max(float(g.abs().max()) for g in gradients if g is not None)
    if longest == 0.0:
        return False
    start = [theta.detach().clone() for theta in thetas]

    def move(length: float) -> float:
        with torch.no_grad():
            for theta, origin, gradient in zip(thetas, start, gradients, strict=True):
                if gradient is not None:
                    step = math.copysign(length, gap) / longest
                    theta.copy_(origin - step * gradient)
        return _gap(super_net, name, target)

    low, high = 0.0, _LONGEST
    if move(high) * gap > 0:
        return True  # as far as this round goes; the next one has a new direction
    for _ in range(40):
        middle = 0.5 * (low + high)
        if move(middle) * gap > 0:
            low = middle
        else:
            high = middle
    return True
