"""Bootstrap confidence intervals of statistics over subnets.

A resample draws n subnets out of n with replacement; it is given as how often each was drawn. The
interval is bias-corrected and accelerated (BCa) [Efron1987]_: with G the distribution of the
statistic over resamples, z_0 its bias and a its acceleration (skewness, by the jackknife), the ends
are the quantiles of G at

    Phi(z_0 + (z_0 + z) / (1 - a (z_0 + z))),   z = -z_{1 - alpha/2}, +z_{1 - alpha/2}.

With z_0 = a = 0 these are the percentiles. Correlations are skewed near 1, which percentiles miss.
A difference of two statistics is itself a statistic: evaluated on the same resamples, it is the
paired bootstrap.

The intervals tell how much the result may depend on *which subnets were drawn*, nothing else.

.. [Efron1987] B. Efron, Better bootstrap confidence intervals, JASA 82 (397).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: From how often each subnet counts, ``(m, n)``, to the statistic, ``(m,)``; NaN: undefined.
Statistic = Callable[[Floats], Floats]

RESAMPLES = 5000
LEVEL = 0.95
#: Resamples of which at most this share may leave the statistic undefined.
_MOST_UNDEFINED = 0.1
_NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A statistic with its confidence interval; NaN where it is not defined."""

    value: float
    """Of the subnets as they are."""
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def resamples(n: int, count: int = RESAMPLES, seed: int = 0) -> Floats:
    """How often each of n subnets is drawn in each of ``count`` resamples, shape ``(count, n)``."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(n, np.full(n, 1.0 / n), size=count).astype(np.float64)


def bca_interval(statistic: Statistic, drawn: Floats, level: float = LEVEL) -> Interval:
    """The BCa interval of a statistic.

    Args:
        statistic: Vectorised over rows of counts.
        drawn: As from :func:`resamples`; give the same for all that is to be compared.
        level: Of confidence, in (0, 1).

    Returns:
        Value and interval. The ends are NaN if the value is, or if more than a tenth of the
        resamples leave the statistic undefined (few subnets, many ties); fewer are left out.

    Raises:
        ValueError: ``level`` is not in (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level={level} is not between 0 and 1")
    n = drawn.shape[1]
    value = float(statistic(np.ones((1, n)))[0])
    replicates = statistic(drawn)
    defined = np.isfinite(replicates)
    if not np.isfinite(value) or 1 - defined.mean() > _MOST_UNDEFINED:
        return Interval(value, float("nan"), float("nan"))
    replicates = replicates[defined]
    bias = _bias(value, replicates)
    acceleration = _acceleration(statistic(1.0 - np.eye(n)))
    ends = []
    for z in (_NORMAL.inv_cdf((1 - level) / 2), _NORMAL.inv_cdf((1 + level) / 2)):
        shifted = bias + z
        ends.append(_NORMAL.cdf(bias + shifted / max(1 - acceleration * shifted, 1e-9)))
    low, high = np.quantile(replicates, ends)
    return Interval(value, float(low), float(high))


def _bias(value: float, replicates: Floats) -> float:
    """z_0: the normal quantile of the share of resamples below the value, ties counting half."""
    # A hair's breadth apart is a tie: the order of summation differs between resamples.
    tie = np.isclose(replicates, value, rtol=0.0, atol=1e-12)
    below = float(((replicates < value) & ~tie).mean() + tie.mean() / 2)
    edge = 0.5 / len(replicates)
    return _NORMAL.inv_cdf(min(max(below, edge), 1 - edge))


def _acceleration(left_out: Floats) -> float:
    """a = sum d^3 / (6 (sum d^2)^{3/2}), d = mean - value without subnet i."""
    kept = left_out[np.isfinite(left_out)]
    if not len(kept):
        return 0.0
    d = kept.mean() - kept
    spread = float((d**2).sum())
    # Equal but for rounding: no skewness.
    return float((d**3).sum()) / (6.0 * spread**1.5) if spread > 1e-20 else 0.0
