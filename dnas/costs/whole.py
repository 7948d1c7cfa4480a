"""From the sum of a model's operators to the time of the whole model.

A whole model takes longer than its operators one by one, by a factor that the architectures of a
space share (caches, mostly). ``dnas profile`` measures whole models beside the operators; their
median ratio is the factor by which latencies in this space are multiplied, so that a budget in
microseconds is one of models, and what is left of the ratios is an error that prices of operators
do not have.

A table keeps what each model took and which operators it runs. The sums follow from the prices that
the table has when it is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnas.core import Operator, SuperNet
from dnas.costs.cost_table import CostTable, Price, read_operator
from dnas.costs.measuring import Measurement
from dnas.costs.sharing import merged_checks
from dnas.errors import CostError

#: Whole models below which their median ratio says too little.
LEAST_MODELS = 5
#: Median absolute deviation of a normal distribution, in standard deviations.
_MAD = 0.6745


def space_key(super_net: SuperNet) -> str:
    """What a table calls the space of ``super_net``: by its decisions and operators.

    Raises:
        CostError: It does not say what it runs.
    """
    content = [
        [str(operator) for operator in super_net.operators()],
        {name: [choice.keys, choice.options] for name, choice in super_net.choices.items()},
    ]
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class WholeModel:
    """A model that was measured whole.

    Attributes:
        architecture: Its id.
        summed: By the prices of its operators, as they are now.
        measured_us: Microseconds of a call.
        spread_us: Range of the middle half.
        rounds: In which it was measured.
    """

    architecture: str
    summed: Price
    measured_us: float
    spread_us: float
    rounds: int


def enter_models(
    table: CostTable,
    key: str,
    space: str,
    models: Iterable[tuple[str, Mapping[Operator, float], Measurement]],
) -> None:
    """Enter whole models of a space into a table; none replaces one that had more rounds.

    Args:
        table: Where to.
        key: Of the space.
        space: Its name, for people.
        models: For each its id, the operators that it runs with their counts, and what it took.
    """
    points = [
        {
            "architecture": name,
            "measured": found.median_us,
            "spread": found.spread_us,
            "rounds": found.rounds,
            "operators": [
                {"kind": operator.kind, "sizes": dict(operator.sizes), "count": count}
                for operator, count in sorted(counts.items())
                if count
            ],
        }
        for name, counts, found in models
    ]
    if points:
        newer = {"space": space, "points": points}
        table.checks[key] = merged_checks(table.checks.get(key, {}), newer)


def whole_models(table: CostTable, key: str) -> list[WholeModel]:
    """The models of a space that a table has, sorted by their ids.

    Raises:
        CostError: They are not what ``dnas profile`` writes, or an operator has no price.
    """
    place = f"{table.source}: checks.{key}.points"
    points = table.checks.get(key, {}).get("points", [])
    try:
        found = [_model(table, point, f"{place}[{i}]") for i, point in enumerate(points)]
    except (TypeError, KeyError, ValueError) as error:
        raise CostError(
            f"{place}: {error!r}: not what dnas profile writes; run it again with --remeasure"
        ) from None
    for model in found:
        if not (0 < model.measured_us < math.inf and model.summed.us > 0):
            raise CostError(
                f"{place}: {model.architecture}: measured {model.measured_us} us, operators "
                f"{model.summed.us} us: both must be positive"
            )
    return sorted(found, key=lambda model: model.architecture)


def _model(table: CostTable, point: Mapping[str, Any], place: str) -> WholeModel:
    counts: dict[Operator, float] = {}
    for row in point["operators"]:
        operator = read_operator(row, place)
        counts[operator] = counts.get(operator, 0.0) + float(row["count"])
    return WholeModel(
        str(point["architecture"]),
        table.total(counts),
        float(point["measured"]),
        float(point["spread"]),
        int(point["rounds"]),
    )


@dataclass(frozen=True)
class Whole:
    """How whole models relate to the sums of their operators.

    Attributes:
        factor: Median of measured over summed; 1 where too few models were measured.
        scatter: About one standard deviation of a model's own factor around that of the other
            models, relative.
        models: How many were measured.
    """

    factor: float = 1.0
    scatter: float = 0.0
    models: int = 0

    @classmethod
    def of(cls, models: Sequence[WholeModel]) -> Whole:
        """By measured models of one space."""
        if len(models) < LEAST_MODELS:
            return cls(models=len(models))
        ratios = _ratios(models)
        deviations = [
            abs(ratio / factor - 1.0)
            for ratio, factor in zip(ratios, factors_of_others(models), strict=True)
        ]
        return cls(statistics.median(ratios), statistics.median(deviations) / _MAD, len(models))

    def price(self, summed: Price) -> Price:
        """That of a whole model whose operators are priced ``summed``."""
        us = summed.us * self.factor
        error = math.hypot(summed.error_us * self.factor, us * self.scatter)
        return Price(us, error, summed.measured)


def factors_of_others(models: Sequence[WholeModel]) -> list[float]:
    """For each model the factor that the other models give: what a model not measured would get.

    It is 1 for all where ``Whole.of`` has no factor either.
    """
    if len(models) < LEAST_MODELS:
        return [1.0] * len(models)
    ratios = _ratios(models)
    return [statistics.median(ratios[:i] + ratios[i + 1 :]) for i in range(len(ratios))]


def _ratios(models: Sequence[WholeModel]) -> list[float]:
    return [model.measured_us / model.summed.us for model in models]
