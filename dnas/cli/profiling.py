"""Measuring a search space: its operators and some whole models in turns, into a cost table."""

from __future__ import annotations

import datetime
import logging
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from torch import nn

from dnas.core import Architecture, Operator, SuperNet
from dnas.costs import (
    Conditions,
    CostTable,
    Measurement,
    Whole,
    enter_models,
    space_key,
    whole_models,
)
from dnas.costs.kinds import completed
from dnas.costs.measuring import (
    Prepare,
    Turn,
    measure_in_turns,
    measure_operators,
    model_case,
)
from dnas.costs.whole import LEAST_MODELS, factors_of_others
from dnas.data.loader import Loader
from dnas.errors import CostError
from dnas.reporting.rank_correlation import kendall_tau_b
from dnas.training.progress import Progress

logger = logging.getLogger(__name__)

#: Least share of the time on a processor on a machine that is taken to be quiet.
QUIET_SHARE = 0.9
#: Batches that calls of a whole model take in turns, as look-ups that are measured alone do.
_BATCHES = 16


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long everything is measured."""

    rounds: int
    """Turns of each."""
    min_seconds: float
    """Of each, over all its turns."""


class ProcessorShare:
    """Of the time since it was made, what this process had processors for."""

    def __init__(self) -> None:
        self._begun = time.perf_counter(), time.process_time()

    def so_far(self, threads: int) -> float:
        """Seconds on processors for each second that has passed and each thread.

        It is less than 1 where others had the processors meanwhile, which calls that take long
        suffer from most, and where several threads had too little to do for all.
        """
        passed = time.perf_counter() - self._begun[0]
        return (time.process_time() - self._begun[1]) / (passed * threads)


def warn_if_busy(conditions: Conditions, share: float) -> None:
    """Say so if the machine was not quiet, unless the clock leaves out what others do."""
    if (conditions.device, conditions.clock) != ("cpu", "wall") or share >= QUIET_SHARE:
        return
    threads = f" and each of {conditions.threads} threads" if conditions.threads > 1 else ""
    logger.warning(
        "this process had a processor for %.0f %% of the time%s only: the machine was busy, and "
        "what takes long looks slower than it is; measure anew when it is quiet, or %s",
        100 * share,
        threads,
        "with fewer threads" if threads else "with --clock processor",
    )


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
        Seconds of this process on processors, see ``ProcessorShare.so_far``.
    """
    begun = ProcessorShare()
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
    return begun.so_far(table.conditions.threads)


def enter_measured(table: CostTable, space: str, super_net: SuperNet, models: Models) -> None:
    """Enter the models that had a turn into the table, for the space of ``super_net``.

    Args:
        table: Where to.
        space: Its name, for people.
        super_net: Says what they run.
        models: What was measured.
    """
    found = [
        (name, super_net.runs(models.architectures[name]), Measurement.of(turns))
        for name, turns in models.turns.items()
    ]
    enter_models(table, space_key(super_net), space, found)


def check_table(table: CostTable, super_net: SuperNet) -> dict[str, Any]:
    """The measured models of a space against what the table predicts for them.

    A model is predicted as one that was not measured: by the factor of the other models.

    Returns:
        ``architectures``, their number; ``rank_correlation``, Kendall's tau-b of sums of operators
        and measured times, None if all are equal; ``whole_factor`` by which sums are multiplied, 1
        where models are too few for one; ``median_relative_error``, of
        ``|predicted / measured - 1|``; ``measured_to_sum``, the median of that ratio;
        ``predicted_range``, how much larger the largest sum is than the smallest;
        ``measured_spread``, the median of the measured times' relative spread, which hides smaller
        differences; ``points``, by architecture, in microseconds.

    Raises:
        CostError: An operator of a model has no price, or there is no model.
    """
    models = whole_models(table, space_key(super_net))
    if not models:
        raise CostError(f"{table.source}: no whole model of this space was measured")
    whole = Whole.of(models)
    points: list[dict[str, Any]] = []
    for model, factor in zip(models, factors_of_others(models), strict=True):
        price = replace(whole, factor=factor).price(model.summed)
        points.append(
            {
                "architecture": model.architecture,
                "predicted": price.us,
                "error": price.error_us,
                "measured": model.measured_us,
                "spread": model.spread_us,
            }
        )
    sums, wholes = [m.summed.us for m in models], [m.measured_us for m in models]
    tau = float(kendall_tau_b(sums, wholes))
    return {
        "architectures": len(models),
        "rank_correlation": tau if tau == tau else None,
        "whole_factor": whole.factor,
        "median_relative_error": statistics.median(
            abs(point["predicted"] / point["measured"] - 1) for point in points
        ),
        "measured_to_sum": statistics.median(w / s for s, w in zip(sums, wholes, strict=True)),
        "predicted_range": max(sums) / min(sums) - 1,
        "measured_spread": statistics.median(m.spread_us / m.measured_us for m in models),
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
    if check["architectures"] < LEAST_MODELS:
        how = f"predicted by sums alone, with no factor of fewer than {LEAST_MODELS} models"
    else:
        how = "each predicted by the factor of the others"
    lines.append(
        f"rank correlation (Kendall's tau-b) {shown}, measured / sum of operators "
        f"{check['measured_to_sum']:.3f} in the median, median error "
        f"{100 * check['median_relative_error']:.1f} % ({how})"
    )
    apart, spread = check["predicted_range"], check["measured_spread"]
    if apart < spread:
        lines.append(
            f"these architectures differ by {100 * apart:.1f} % in their sums, and single measured "
            f"times scatter by {100 * spread:.1f} %: too much to tell their order"
        )
    return "\n".join(lines) + "\n"
