"""Measuring a search space: its operators and some whole models in turns, into a cost table."""

from __future__ import annotations

import datetime
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import nn

from dnas.core import Architecture, Operator, SuperNet
from dnas.costs import CostTable, Measurement, Price
from dnas.costs.kinds import completed
from dnas.costs.measuring import (
    Prepare,
    Turn,
    measure_in_turns,
    measure_operators,
    model_case,
)
from dnas.data.loader import Loader
from dnas.reporting.rank_correlation import kendall_tau_b
from dnas.training.progress import Progress

logger = logging.getLogger(__name__)

#: Batches that calls of a whole model take in turns, as look-ups that are measured alone do.
_BATCHES = 16


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    """Turns of each."""
    min_seconds: float
    """Of each, over all its turns."""


@dataclass
class Models:
    """Whole models that are measured beside the operators, by a name.

    Attributes:
        architectures: What they are.
        cases: How each is made ready for a turn.
        turns: What they took.
    """

    architectures: dict[str, Architecture] = field(default_factory=dict)
    cases: dict[str, Prepare] = field(default_factory=dict)
    turns: dict[str, list[Turn]] = field(default_factory=lambda: defaultdict(list))

    def add(
        self,
        architecture: Architecture,
        make: Callable[[], nn.Module],
        batches: Sequence[tuple[Any, ...]],
        table: CostTable,
    ) -> None:
        """Measure this one too."""
        self.architectures[architecture.id] = architecture
        self.cases[architecture.id] = model_case(make, batches, table.conditions)


def input_batches(loader: Loader) -> list[tuple[Any, ...]]:
    """Inputs of the first batches of ``loader``."""
    steps = min(_BATCHES, len(loader))
    return [batch.inputs for batch in islice(loader.batches(0, steps), steps)]


def measure_into(
    table: CostTable,
    operators: Sequence[Operator],
    models: Models,
    effort: Effort,
    *,
    seed: int = 1,
    clock: Callable[[], float] | None = None,
    after_round: Callable[[], None] = lambda: None,
) -> float:
    """Measure operators and models in the same rounds.

    What is there when it ends, for whatever reason, is entered in ``table``: all of a round's
    turns after it, and those of the last one too when it is interrupted. Turns that the table kept
    of an operator count; it gets those that it lacks.

    Args:
        table: Where the operators' measurements go.
        operators: What to measure.
        models: What else to measure; its ``turns`` grow.
        effort: How long.
        seed: Of the operators' inputs.
        clock: For tests.
        after_round: Called after each round, when the table is up to date.

    Returns:
        Seconds of this process on processors for each second that has passed: less than 1 where
        others had the processor meanwhile, which calls that take long suffer from most.
    """
    begun = time.perf_counter(), time.process_time()
    turns = {o: list(table.turns_kept(o)) for o in map(completed, operators)}
    lacked = {operator: max(effort.rounds - len(kept), 0) for operator, kept in turns.items()}

    def enter() -> None:
        for operator, taken in turns.items():
            if taken:
                table.add(operator, Measurement.of(taken))
        table.date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")

    part: dict[str, Any] = {
        "rounds": 1,
        "min_seconds": effort.min_seconds / effort.rounds,
        "clock": clock or table.conditions.timer(),
    }
    total = sum(lacked.values()) + effort.rounds * len(models.cases)
    with Progress("profile", total) as progress:
        try:
            for number in range(effort.rounds):
                if lacking := [o for o, lacks in lacked.items() if number < lacks]:
                    for operator, turn in measure_operators(
                        lacking, table.conditions, seed=seed, **part
                    ):
                        turns[operator].append(turn)
                        progress.done += 1
                        progress.note(round=number + 1, us=turn.median_us, last=operator.kind)
                for name, turn in measure_in_turns(
                    models.cases, threads=table.conditions.threads, **part
                ):
                    models.turns[name].append(turn)
                    progress.done += 1
                    progress.note(round=number + 1, us=turn.median_us, last="model")
                enter()
                after_round()
        except KeyboardInterrupt:
            enter()
            after_round()
            raise
    return (time.process_time() - begun[1]) / (time.perf_counter() - begun[0])


def predicted(table: CostTable, super_net: SuperNet, architecture: Mapping[str, Any]) -> Price:
    """The sum of the prices of what ``architecture`` runs.

    Raises:
        CostError: One of them has none.
    """
    with torch.no_grad():
        sample = super_net.one_hot_sample(architecture, torch.float64)
        counts = super_net.operator_terms(sample).by_operator()
    return table.total({operator: float(count) for operator, count in counts.items()})


def check_table(table: CostTable, super_net: SuperNet, models: Models) -> dict[str, Any]:
    """Whole models as measured against the sums of their operators: ``check`` of the table.

    Returns:
        ``architectures``, their number; ``rank_correlation``, Kendall's tau-b, None if all are
        equal; ``median_relative_error``, of ``|predicted / measured - 1|``;
        ``measured_to_predicted``, the median of that ratio; ``predicted_range``, how much larger
        the largest sum is than the smallest; ``measured_spread``, the median of the measured times'
        relative spread, which hides smaller differences; ``points``, by architecture, in
        microseconds.
    """
    points: list[dict[str, Any]] = []
    pairs: list[tuple[float, float]] = []
    for name, turns in models.turns.items():
        price, found = (
            predicted(table, super_net, models.architectures[name]),
            Measurement.of(turns),
        )
        pairs.append((price.us, found.median_us))
        points.append(
            {
                "architecture": name,
                "predicted": price.us,
                "error": price.error_us,
                "measured": found.median_us,
                "spread": found.spread_us,
            }
        )
    sums, wholes = zip(*pairs, strict=True)
    tau = float(kendall_tau_b(sums, wholes))
    return {
        "architectures": len(points),
        "rank_correlation": tau if tau == tau else None,
        "median_relative_error": statistics.median(abs(s / w - 1) for s, w in pairs),
        "measured_to_predicted": statistics.median(w / s for s, w in pairs),
        "predicted_range": max(sums) / min(sums) - 1,
        "measured_spread": statistics.median(p["spread"] / p["measured"] for p in points),
        "date": table.date,
        "points": points,
    }


def check_text(check: Mapping[str, Any]) -> str:
    """``check_table``'s result to read."""
    lines = [f"{'architecture':16} {'predicted us':>14} {'+-':>8} {'measured us':>14} {'+-':>8}"]
    for point in sorted(check["points"], key=lambda point: point["measured"]):
        lines.append(
            f"{point['architecture'][:16]:16} {point['predicted']:14.1f} {point['error']:8.1f} "
            f"{point['measured']:14.1f} {point['spread']:8.1f}"
        )
    tau = check["rank_correlation"]
    shown = "undefined" if tau is None else f"{tau:.3f}"
    lines.append(
        f"rank correlation (Kendall's tau-b) {shown}, median error "
        f"{100 * check['median_relative_error']:.1f} %, measured / predicted "
        f"{check['measured_to_predicted']:.3f} in the median"
    )
    apart, spread = check["predicted_range"], check["measured_spread"]
    if apart < spread:
        lines.append(
            f"these architectures differ by {100 * apart:.1f} % in their sums, and single measured "
            f"times scatter by {100 * spread:.1f} %: too much to tell their order"
        )
    return "\n".join(lines) + "\n"
