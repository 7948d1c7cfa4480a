"""Did the search beat random choice? Searched against random architectures of the same space.

Both were trained from scratch by the same jobs, so they had the same budget as long as each was
trained under the same settings, which :attr:`Comparison.same_budget` checks. An architecture
stands by its best training. "Loss" is the metric that selects, negative if it is to be large, so
that less is better. The best of many beats the best of few by luck alone, so the two bests
are compared at equal counts: for the larger group, the expected best of as many architectures as
the smaller one has,

    E[best of k among x_1 <= ... <= x_n] = sum_i x_i C(n - i, k - 1) / C(n, k).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dnas.quality import Quality
from dnas.reporting.frames import setting_columns
from dnas.reporting.judging import by_loss, losses_of, quality_of
from dnas.reporting.statistics import RANDOM, SEARCHED, diverged_rows, population


@dataclass(frozen=True)
class Group:
    """Architectures of one origin, each by its best training.

    Attributes:
        losses: Of each architecture in validation, rising; shape ``(n,)``.
        costs: Their costs in the same order; shape ``(n,)``.
        trainings: Successful trainings of all of them together.
    """

    losses: NDArray[np.float64]
    costs: NDArray[np.float64]
    trainings: int

    @property
    def count(self) -> int:
        """Distinct architectures."""
        return len(self.losses)

    @property
    def best(self) -> float:
        """The smallest loss."""
        return float(self.losses[0])

    @property
    def mean(self) -> float:
        """Mean loss over architectures."""
        return float(self.losses.mean())

    @property
    def best_cost(self) -> float:
        """Cost of the architecture with the smallest loss."""
        return float(self.costs[0])

    @property
    def mean_cost(self) -> float:
        """Mean cost over architectures."""
        return float(self.costs.mean())


@dataclass(frozen=True)
class Comparison:
    """Searched against random; differences are searched minus random, so negative is better.

    Attributes:
        quality: What architectures are judged by.
        searched: What the search proposed.
        random: What chance proposed.
        best_difference: Of the best losses, at equal counts.
        mean_difference: Of the mean losses.
        standard_error: Of ``mean_difference`` (Welch); NaN with fewer than two in a group.
        win_rate: Share of (searched, random) pairs in which searched has the smaller loss.
        random_beaten: Random architectures that a searched one beats in loss and in cost, or
            equals in one of them.
        searched_beaten: The reverse.
        same_budget: Both groups were trained under the same set of settings.
    """

    quality: Quality
    searched: Group
    random: Group
    best_difference: float
    mean_difference: float
    standard_error: float
    win_rate: float
    random_beaten: int
    searched_beaten: int
    same_budget: bool

    @property
    def verdict(self) -> str:
        """One plain sentence; it does not flatter."""
        best, mean = self.best_difference < 0, self.mean_difference < 0
        metric = self.quality.words
        if best and mean:
            sentence = f"The search beat random choice, in best and in mean {metric}"
            if abs(self.mean_difference) < 2 * self.standard_error:
                sentence += " (the mean by less than 2 standard errors)"
            elif math.isnan(self.standard_error):
                sentence += " (too few architectures to say how surely)"
        elif best:
            sentence = f"The search beat random choice in best {metric}, NOT in mean {metric}"
        elif mean:
            sentence = f"The search beat random choice in mean {metric}, NOT in best {metric}"
        else:
            sentence = (
                f"The search did NOT beat random choice, neither in best nor in mean {metric}"
            )
        return sentence + "."


def compare(frame: pd.DataFrame, cost: str | None) -> Comparison | None:
    """Compare searched with random architectures; given ones are neither.

    Args:
        frame: Rows of one search space, as from ``results_frame``; diverged ones are left out.
        cost: The cost column, or None when there is none (all costs are then NaN).

    Returns:
        The numbers, or None when one of the two groups is empty.
    """
    kept = frame[~diverged_rows(frame)]
    who = population(kept)
    searched = _group(kept[who == SEARCHED], cost)
    random = _group(kept[who == RANDOM], cost)
    if searched is None or random is None:
        return None
    k = min(searched.count, random.count)
    variances = [
        float(group.losses.var(ddof=1)) / group.count if group.count > 1 else math.nan
        for group in (searched, random)
    ]
    pairs = np.sign(random.losses[None, :] - searched.losses[:, None])  # (searched, random)
    return Comparison(
        quality=quality_of(frame),
        searched=searched,
        random=random,
        best_difference=expected_best(searched.losses, k) - expected_best(random.losses, k),
        mean_difference=searched.mean - random.mean,
        standard_error=math.sqrt(sum(variances)),
        win_rate=float((pairs + 1).mean() / 2),
        random_beaten=_beaten(random, searched),
        searched_beaten=_beaten(searched, random),
        same_budget=_settings_of(kept[who == SEARCHED], frame)
        == _settings_of(kept[who == RANDOM], frame),
    )


def expected_best(losses: NDArray[np.float64], k: int) -> float:
    """Expected smallest of ``k`` of these losses, drawn without replacement.

    Args:
        losses: Shape ``(n,)``, in any order.
        k: From 1 to n; n gives the smallest of all.
    """
    x = np.sort(np.asarray(losses, dtype=np.float64))
    if not 1 <= k <= len(x):
        raise ValueError(f"1 <= k <= n must hold, got {k=}, n={len(x)}")
    ways = [math.comb(len(x) - i, k - 1) for i in range(1, len(x) + 1)]
    total = math.comb(len(x), k)
    return float(sum(w / total * v for w, v in zip(ways, x, strict=True)))


def best_trainings(frame: pd.DataFrame) -> pd.DataFrame:
    """The best row of each distinct architecture, best first; rows without a value are dropped.

    Rows that do not say which architecture they trained count as one architecture each.
    """
    rows = by_loss(frame[losses_of(frame).notna()])
    return rows[~architecture_keys(rows).duplicated()]


def architecture_keys(rows: pd.DataFrame) -> pd.Series:
    """What tells the architectures of ``rows`` apart; a row that names none is one of its own."""
    return rows["canonical_id"].where(
        rows["canonical_id"].notna(), "job " + rows["job"].astype(str)
    )


def _group(rows: pd.DataFrame, cost: str | None) -> Group | None:
    best = best_trainings(rows)
    if best.empty:
        return None
    losses = losses_of(best).to_numpy(np.float64)
    costs = best[cost].to_numpy(np.float64) if cost else np.full(len(losses), np.nan)
    return Group(losses, costs, len(rows))


def _beaten(group: Group, by: Group) -> int:
    """How many of ``group`` an element of ``by`` dominates in loss and cost."""
    no_worse = (by.losses[:, None] <= group.losses) & (by.costs[:, None] <= group.costs)
    better = (by.losses[:, None] < group.losses) | (by.costs[:, None] < group.costs)
    return int((no_worse & better).any(axis=0).sum())


def _settings_of(rows: pd.DataFrame, frame: pd.DataFrame) -> set[tuple[str, ...]]:
    """The distinct settings, among those that vary in ``frame``, under which rows were trained."""
    names = setting_columns(frame)
    return {tuple(map(str, values)) for values in rows[names].itertuples(index=False, name=None)}
