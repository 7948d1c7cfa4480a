"""Schedules: pure functions from progress to a value.

Progress is counted in epochs as a float; what it counts (weights epochs, theta epochs) is the
caller's affair.
"""

from __future__ import annotations

import math
from collections.abc import Callable

#: Progress in epochs -> factor on the initial learning rate.
LrLambda = Callable[[float], float]


def temperature(initial: float, rate: float, epoch: float, minimum: float = 1e-3) -> float:
    """``max(T_0 * exp(-eta * epoch), minimum)``, Algorithm 1 of arXiv:2110.14812.

    The floor is not in the paper: with tau -> 0 the gradient with respect to theta vanishes almost
    everywhere and the weights become one-hot long before 1e-3.

    Args:
        initial: T_0.
        rate: eta.
        epoch: The epoch counter of Algorithm 1, warm-up included; fractional when the temperature
            is updated at every step.
        minimum: Floor.
    """
    return max(initial * math.exp(-rate * epoch), minimum)


def constant() -> LrLambda:
    """Factor 1 throughout."""
    return lambda epoch: 1.0


def exponential(base: float) -> LrLambda:
    """Factor ``base ** epoch``; the paper's runs use 0.9."""
    return lambda epoch: base**epoch


def cosine(total_epochs: float, warmup_epochs: float = 0.0) -> LrLambda:
    """Linear from 0 over ``warmup_epochs``, then ``(1 + cos(pi * progress)) / 2`` down to 0."""

    def factor(epoch: float) -> float:
        if epoch < warmup_epochs:
            return epoch / warmup_epochs
        span = total_epochs - warmup_epochs
        progress = min(max((epoch - warmup_epochs) / span, 0.0), 1.0) if span > 0 else 1.0
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    return factor
