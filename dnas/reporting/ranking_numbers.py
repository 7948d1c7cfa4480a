"""What a study of rank correlation says: correlations, differences, choices, and the noise ceiling.

A *scorer* is a way to score subnets: settings of the supernet, settings of the scoring, and how
(as it is, or with its last layer fine-tuned). Supernets that differ in their seed alone are
repetitions: the scorer's correlation is the mean of theirs.

Intervals are 95 % BCa bootstrap intervals over subnets (:mod:`dnas.reporting.bootstrap`), always of
the same resamples, so that differences are paired. They say nothing of what another training of the
supernet would give; for that, repeat supernets with other seeds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dnas.quality import Quality
from dnas.reporting.bootstrap import Interval, Statistic, bca_interval, resamples
from dnas.reporting.judging import quality_of
from dnas.reporting.rank_correlation import (
    attainable_pearson,
    kendall_tau_b,
    overlap_of_best,
    pearson,
    regret_by_chance,
    regret_of_best,
)
from dnas.reporting.ranking_frames import HOW, SCORING_PREFIX, SEED, SUPERNET_PREFIX

Floats = NDArray[np.float64]
CORRELATIONS: dict[str, Callable[..., Floats]] = {"pearson": pearson, "kendall": kendall_tau_b}
#: Fewer subnets than this have no order worth a number.
FEWEST = 3
#: Sizes of a short list, as far as there are so many subnets.
SHORT_LISTS = (1, 5, 10)
_SETTING, _HOW = "setting", "how"


@dataclass(frozen=True, eq=False)
class Scorer:
    """One way to score the subnets of one draw."""

    draw: str
    setting: str
    """Of the search space; empty if there is one."""
    settings: Mapping[str, str]
    """``supernet.<flag>`` and ``scoring.<flag>``, without the supernet's seed."""
    how: str
    subnets: tuple[str, ...]
    """Architecture ids of the n subnets that have ground truth and finite scores."""
    scores: Floats
    """``(S, n)``: of each of S supernets that differ in their seed alone."""
    truth: Floats
    """``(n,)``."""
    left_out: int
    """Subnets without ground truth or without a finite score."""
    supernet_seconds: float
    """Mean training time of its supernets."""
    quality: Quality
    """What scores and truth are."""

    @property
    def label(self) -> str:
        """Its settings for people, without how it scores."""
        # The setting of the space is one of the flags, unless it came from a file of flags.
        shown = ", ".join(_shown(k, v) for k, v in self.settings.items() if v)
        return shown or self.setting or "all"

    def correlation(self, name: str) -> Statistic:
        """Mean correlation over its supernets, as a function of how often subnets count."""
        function = CORRELATIONS[name]
        return lambda counts: np.mean([function(x, self.truth, counts) for x in self.scores], 0)

    def among(self, subnets: Sequence[str]) -> Scorer:
        """The same scorer on some of its subnets, in the order given."""
        position = {subnet: index for index, subnet in enumerate(self.subnets)}
        chosen = [position[subnet] for subnet in subnets]
        return Scorer(
            self.draw,
            self.setting,
            self.settings,
            self.how,
            tuple(subnets),
            self.scores[:, chosen],
            self.truth[chosen],
            self.left_out,
            self.supernet_seconds,
            self.quality,
        )


def scorers_of(scores: pd.DataFrame) -> list[Scorer]:
    """The scorers of a study, in the order of its jobs; those of fewer than 3 subnets left out.

    Args:
        scores: As from ``scores_frame``.
    """
    flags = [
        name
        for name in scores.columns
        if str(name).startswith((SUPERNET_PREFIX, SCORING_PREFIX))
        and name != SUPERNET_PREFIX + SEED
    ]
    quality = quality_of(scores)
    found = []
    by = ["draw", "setting", *flags]
    filled = scores.fillna({name: "" for name in flags})
    for key, group in filled.groupby(by, sort=False):
        for how in HOW:
            rows = group[group["how"] == how]
            table = rows.pivot(index="architecture_id", columns="supernet", values="score")
            truth = rows.groupby("architecture_id", sort=False)["truth"].first().loc[table.index]
            kept = table.notna().all(axis=1) & truth.notna()
            if kept.sum() < FEWEST:
                continue
            found.append(
                Scorer(
                    draw=str(key[0]),
                    setting=str(key[1]),
                    settings=dict(zip(flags, map(str, key[2:]), strict=True)),
                    how=how,
                    subnets=tuple(map(str, table.index[kept])),
                    scores=table[kept].to_numpy(np.float64).T,
                    truth=truth[kept].to_numpy(np.float64),
                    left_out=int((~kept).sum()),
                    supernet_seconds=float(
                        rows.drop_duplicates("supernet")["supernet_seconds"].mean()
                    ),
                    quality=quality,
                )
            )
    return found


def correlations_frame(scorers: Sequence[Scorer]) -> pd.DataFrame:
    """Tables 2 and 3 of arXiv 2207.07187: each scorer's rho and tau with intervals.

    Columns: ``setting``, the scorer's flags, ``how``, ``supernets`` (S), ``supernet_seconds``,
    ``subnets``, ``left_out``, and for each correlation NAME its value ``NAME``, ``NAME_low``,
    ``NAME_high`` and ``NAME_sd`` (between supernets; NaN for one).
    """
    rows = []
    for scorer in scorers:
        n = len(scorer.subnets)
        row = {
            _SETTING: scorer.setting,
            **scorer.settings,
            _HOW: scorer.how,
            "supernets": len(scorer.scores),
            "supernet_seconds": scorer.supernet_seconds,
            "subnets": n,
            "left_out": scorer.left_out,
        }
        for name, function in CORRELATIONS.items():
            found = bca_interval(scorer.correlation(name), resamples(n))
            each = [float(function(x, scorer.truth)) for x in scorer.scores]
            row |= _cells(name, found)
            row[f"{name}_sd"] = float(np.std(each, ddof=1)) if len(each) > 1 else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def differences_frame(scorers: Sequence[Scorer]) -> pd.DataFrame:
    """Paired differences of all pairs of scorers that differ in exactly one thing.

    Columns: ``differs`` (what), ``first``, ``second`` (its two values), ``common`` (all else),
    ``subnets`` (scored by both), and for each correlation NAME first minus second: ``NAME``,
    ``NAME_low``, ``NAME_high``.
    """
    rows = []
    for one, other in combinations(scorers, 2):
        first, second = _traits(one), _traits(other)
        differing = [name for name in first if first[name] != second.get(name)]
        if len(differing) != 1:
            continue
        if differing == [_HOW]:  # what fine-tuning adds
            one, other, first, second = other, one, second, first
        common = sorted(set(one.subnets) & set(other.subnets))
        if len(common) < FEWEST:
            continue
        a, b = one.among(common), other.among(common)
        name = differing[0]
        rest = [_shown(key, value) for key, value in first.items() if key != name and value]
        row: dict[str, object] = {
            "differs": name,
            "first": first[name],
            "second": second[name],
            "common": ", ".join(rest),
            "subnets": len(common),
        }
        drawn = resamples(len(common))
        for correlation in CORRELATIONS:
            difference = _difference(a.correlation(correlation), b.correlation(correlation))
            row |= _cells(correlation, bca_interval(difference, drawn))
        rows.append(row)
    names = [f"{name}{end}" for name in CORRELATIONS for end in ("", "_low", "_high")]
    return pd.DataFrame(
        rows, columns=["differs", "first", "second", "common", "subnets", *names]
    ).sort_values("differs", kind="stable", ignore_index=True)


def choices_frame(scorers: Sequence[Scorer]) -> pd.DataFrame:
    """What matters in practice: are the best by score among the best in truth?

    Columns: ``setting``, flags, ``how``, ``k``, ``overlap`` (share of the k best by score that are
    among the k best in truth), ``overlap_by_chance``, ``regret`` (how much worse the best truth
    among the k best by score is than the best of all), ``regret_by_chance``. Means over the
    scorer's supernets.
    """
    rows = []
    for scorer in scorers:
        n = len(scorer.subnets)
        scores, truth = scorer.quality.signed(scorer.scores), scorer.quality.signed(scorer.truth)
        for k in (k for k in SHORT_LISTS if k < n):
            overlaps = [overlap_of_best(x, truth, k) for x in scores]
            regrets = [regret_of_best(x, truth, k) for x in scores]
            rows.append(
                {
                    _SETTING: scorer.setting,
                    **scorer.settings,
                    _HOW: scorer.how,
                    "k": k,
                    "overlap": float(np.mean(overlaps)),
                    "overlap_by_chance": k / n,
                    "regret": float(np.mean(regrets)),
                    "regret_by_chance": regret_by_chance(truth, k),
                }
            )
    return pd.DataFrame(rows)


def noise_frame(truths: pd.DataFrame) -> pd.DataFrame:
    """How well two trainings of the same subnets agree: what any score is up against.

    Columns: ``setting``, ``trainings`` (K seeds), ``subnets`` (trained well with every seed),
    ``left_out``, ``spread`` (standard deviation of the truth, the noise taken out),
    ``noise`` (standard deviation between trainings of one subnet), for each correlation NAME its
    mean over pairs of seeds ``NAME``, ``NAME_low``, ``NAME_high``, and the largest correlation that
    a score without any error could have with the mean of the K trainings: ``pearson_attainable``
    (Spearman and Brown), ``kendall_attainable`` (2/pi asin of it, as for normal losses).

    Args:
        truths: As from ``truths_frame``.
    """
    rows = []
    for (_, setting), group in truths.groupby(["draw", "setting"], sort=False):
        table = group.pivot(index="canonical_id", columns="seed", values="truth")
        kept = table.dropna()
        losses = kept.to_numpy(np.float64).T  # (K, n)
        trainings, n = losses.shape
        row: dict[str, object] = {
            _SETTING: setting,
            "trainings": trainings,
            "subnets": n,
            "left_out": len(table) - n,
        }
        known = trainings > 1 and n >= FEWEST
        variance = float(losses.var(0, ddof=1).mean()) if known else math.nan
        between = float(losses.mean(0).var(ddof=1)) if n > 1 else math.nan
        row["noise"] = math.sqrt(variance) if known else math.nan
        row["spread"] = math.sqrt(max(between - variance / trainings, 0.0)) if known else math.nan
        for name, function in CORRELATIONS.items():
            unknown = Interval(math.nan, math.nan, math.nan)
            row |= _cells(
                name, bca_interval(_agreement(function, losses), resamples(n)) if known else unknown
            )
        best = attainable_pearson(float(str(row["pearson"])), trainings)
        row["pearson_attainable"] = best
        row["kendall_attainable"] = 2 / math.pi * math.asin(best) if best == best else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


def _agreement(function: Callable[..., Floats], losses: Floats) -> Statistic:
    """Mean correlation over pairs of rows of ``losses``, ``(K, n)``."""
    return lambda counts: np.mean([function(a, b, counts) for a, b in combinations(losses, 2)], 0)


def _difference(first: Statistic, second: Statistic) -> Statistic:
    return lambda counts: first(counts) - second(counts)


def _traits(scorer: Scorer) -> dict[str, str]:
    """Everything in which two scorers can differ."""
    own = dict(scorer.settings) or {_SETTING: scorer.setting}
    return {**own, _HOW: scorer.how}


def _shown(flag: str, value: str) -> str:
    """A flag's value, with its name where the value alone says nothing."""
    says_it = value[:1].isalpha() and value.lower() not in ("true", "false", "none")
    return value if says_it else f"{flag.rsplit('.', 1)[-1]}={value}"


def _cells(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
