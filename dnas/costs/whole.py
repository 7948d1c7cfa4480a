"""From the sum of a model's operators to the time of the whole model.

A whole model takes longer than its operators one by one, by a factor that its architectures share
(caches, mostly). ``dnas profile`` measures whole models beside the operators; their median ratio is
the factor by which latencies are multiplied, so that a budget in microseconds is one of models, and
what is left of the ratios is an error that prices of operators do not have.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnas.costs.cost_table import CostTable, Price
from dnas.errors import CostError

#: Whole models below which their median ratio says too little.
LEAST_MODELS = 5
#: Median absolute deviation of a normal distribution, in standard deviations.
_MAD = 0.6745


@dataclass(frozen=True)
class Whole:
    """How whole models relate to the sums of their operators.

    Attributes:
        factor: Median of measured over summed; 1 where too few models were measured.
        scatter: About one standard deviation of the models' own factors around it, relative.
        models: How many were measured.
    """

    factor: float = 1.0
    scatter: float = 0.0
    models: int = 0

    @classmethod
    def of(cls, table: CostTable) -> Whole:
        """By the check in a table.

        Raises:
            CostError: The check is not one that ``dnas profile`` wrote.
        """
        ratios = _ratios(table.check or {}, table.source)
        if len(ratios) < LEAST_MODELS:
            return cls(models=len(ratios))
        factor = statistics.median(ratios)
        deviation = statistics.median(abs(ratio / factor - 1.0) for ratio in ratios)
        return cls(factor, deviation / _MAD, len(ratios))

    def price(self, summed: Price) -> Price:
        """That of a whole model whose operators are priced ``summed``."""
        us = summed.us * self.factor
        error = math.hypot(summed.error_us * self.factor, us * self.scatter)
        return Price(us, error, summed.measured)


def _ratios(check: Mapping[str, Any], source: str) -> list[float]:
    """Measured over predicted of every model."""
    try:
        ratios = [float(p["measured"]) / float(p["predicted"]) for p in check.get("points", [])]
    except (TypeError, KeyError, ValueError, ZeroDivisionError) as error:
        raise CostError(
            f"{source}: check.points: {error!r}: not what dnas profile writes; run it again"
        ) from None
    wrong = [ratio for ratio in ratios if not 0 < ratio < math.inf]
    if wrong:
        raise CostError(f"{source}: check.points: measured / predicted is {wrong[0]}")
    return ratios
