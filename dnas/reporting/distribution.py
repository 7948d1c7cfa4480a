"""How many architectures of a space are how good: Figure 5 of NASRec (arXiv:2207.07187, 5.2).

The cumulative distribution function of the validation metric that selects, such as log loss, of
randomly drawn architectures says how dense good ones are in a search space, and so how far random
choice gets; that of the searched ones beside it says what the search adds.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dnas.quality import Quality
from dnas.reporting.comparison import best_trainings
from dnas.reporting.drawing import COLORS, highest_shown, new_figure
from dnas.reporting.judging import losses_of, quality_of
from dnas.reporting.statistics import RANDOM, SEARCHED, diverged_rows, population
from dnas.reporting.text import shorten

_DASHES = {RANDOM: "-", SEARCHED: (0, (4, 1.5))}


def distribution_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    """The curves: for each search space, of random and of searched architectures.

    An architecture stands by its best training; those that diverged are left out.

    Args:
        frame: Rows of the sampled stage, as from ``results_frame``.

    Returns:
        Columns ``search_space``, ``population``, the metric's (``validation_logloss``),
        ``fraction`` (of the curve's architectures that are as good or better), ``job``,
        ``canonical_id``; each curve best first, with ``fraction`` from 1/n to 1.
    """
    quality = quality_of(frame)
    columns = ["search_space", "population", quality.column, "fraction", "job", "canonical_id"]
    kept = frame[~diverged_rows(frame)]
    spaces, groups = kept["search_space"].fillna("").astype(str), population(kept)
    curves = []
    for space in sorted(spaces.unique()):
        for group in (RANDOM, SEARCHED):
            best = best_trainings(kept[(spaces == space) & (groups == group)])
            losses = losses_of(best)
            curve = best[["job", "canonical_id"]].assign(
                search_space=space,
                population=group,
                # Equal losses have one fraction, that of the last of them.
                fraction=losses.rank(method="max") / max(len(best), 1),
                **{quality.column: quality.signed(losses)},
            )
            curves.append(curve)
    table = pd.concat(curves) if curves else pd.DataFrame(columns=columns)
    return table[columns].reset_index(drop=True)


def worth_drawing(numbers: pd.DataFrame) -> bool:
    """Whether any curve has more than one point."""
    return bool(numbers.duplicated(["search_space", "population"]).any())


def draw_distribution(numbers: pd.DataFrame, quality: Quality, title: str) -> Figure:
    """Draw the curves, a colour for each search space, solid for random architectures.

    Values far worse than the others are beyond the axis; what a curve lacks to 1 there is their
    share.

    Args:
        numbers: As from :func:`distribution_numbers`.
        quality: What they are of.
        title: What is shown.
    """
    figure = new_figure(7.5, 4.6)
    axes = figure.add_subplot()
    spaces = list(dict.fromkeys(numbers["search_space"]))
    several = len(spaces) > 1
    losses = quality.signed(numbers[quality.column].to_numpy(np.float64))
    low, top = float(losses.min()), min(highest_shown(losses), float(losses.max()))
    margin = 0.04 * (top - low) or 1e-4
    for (space, group), curve in numbers.groupby(["search_space", "population"], sort=False):
        x = quality.signed(curve[quality.column].to_numpy(np.float64))
        y = curve["fraction"].to_numpy(np.float64)
        # From the axis up, and on to the edge of what is worse.
        axes.step(
            quality.signed(np.array([x[0], *x, max(top + margin, x[-1])])),
            [0.0, *y, y[-1]],
            where="post",
            color=COLORS[spaces.index(space) % len(COLORS)],
            linestyle=_DASHES[str(group)],
            linewidth=1.8,
            label=f"{shorten(str(space), 24) + ' ' if several else ''}{group} ({len(curve)})",
        )
    axes.set_xlim(*sorted(quality.signed(np.array([low - margin, top + margin]))))
    axes.set_ylim(0.0, 1.02)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.set_xlabel(f"validation {quality.words} ({quality.direction})")
    way = "above" if quality.maximize else "below"
    axes.set_ylabel(f"fraction of architectures at or {way}")
    axes.grid(alpha=0.25)
    axes.set_title(shorten(title, 80), fontsize=10)
    axes.legend(loc="lower left" if quality.maximize else "lower right", fontsize=8, framealpha=0.9)
    return figure
