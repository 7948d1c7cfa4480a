"""Pictures of a study of rank correlation: Figure 3 of arXiv 2207.07187, and the intervals."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dnas.reporting.drawing import COLORS, highest_shown, new_figure
from dnas.reporting.rank_correlation import kendall_tau_b, pearson
from dnas.reporting.ranking_frames import AS_IS, HOW
from dnas.reporting.ranking_numbers import Scorer
from dnas.reporting.text import shorten

#: For people.
HOW_NAMES = {"as_is": "no fine-tuning", "finetuned": "last layer fine-tuned"}
_PANEL_IN = 3.1
_MOST_COLUMNS = 4


def draw_scatter(scorers: Sequence[Scorer], how: str, title: str) -> Figure:
    """Ground truth against the score with shared weights, a panel for each scorer.

    All panels share the axis of ground truth. Scores far worse than the others are drawn as
    triangles on the edge. Supernets that differ in their seed alone have colours of their own.

    Args:
        scorers: Those of one ``how``.
        how: For the title.
        title: What is shown.
    """
    quality = scorers[0].quality
    columns = _num_columns(scorers)
    rows = -(-len(scorers) // columns)
    figure = new_figure(max(_PANEL_IN * columns, 4.6) + 0.4, _PANEL_IN * rows + 0.6)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True)
    for axes in panels.flat[len(scorers) :]:
        axes.set_visible(False)
    repeated = any(len(scorer.scores) > 1 for scorer in scorers)
    for number, (scorer, axes) in enumerate(zip(scorers, panels.flat, strict=False)):
        # Supernets of several seeds differ in level, which would hide the order that each gives.
        level = scorer.scores.mean(1, keepdims=True) if repeated else 0.0
        shown = quality.signed(scorer.scores - level)
        top = highest_shown(shown.ravel())
        for scores, color in zip(shown, _colors(len(shown)), strict=True):
            above = scores > top
            axes.scatter(
                scorer.truth[~above], quality.signed(scores[~above]), s=16, alpha=0.7, color=color,
                linewidths=0,
            )  # fmt: skip
            axes.scatter(
                scorer.truth[above], np.full(above.sum(), quality.signed(top)), s=24,
                marker="v" if quality.maximize else "^", clip_on=False, facecolors="none",
                edgecolors=color,
            )  # fmt: skip
        tau, rho = (
            float(np.mean([f(x, scorer.truth) for x in scorer.scores]))
            for f in (kendall_tau_b, pearson)
        )
        axes.set_title(
            f"{textwrap.fill(scorer.label, 40)}\nPearson {_signed(rho)}, Kendall {_signed(tau)}",
            fontsize=8.5,
        )
        axes.tick_params(labelsize=7, labelbottom=number + columns >= len(scorers))
        axes.ticklabel_format(useOffset=False)
        axes.locator_params(nbins=5)
        axes.grid(alpha=0.25)
    figure.supxlabel(f"{quality.words}, trained from scratch (ground truth)", fontsize=9)
    minus = ",\nminus each supernet's mean" if repeated else ""
    figure.supylabel(f"{quality.words} with shared weights, {HOW_NAMES[how]}{minus}", fontsize=9)
    figure.suptitle(shorten(title, 90), fontsize=10)
    return figure


def draw_correlations(table: pd.DataFrame, labels: Sequence[str], noise: pd.DataFrame) -> Figure:
    """Each scorer's correlations with their intervals, and the agreement of two trainings.

    Args:
        table: As from ``correlations_frame``.
        labels: The label of each of its rows.
        noise: As from ``noise_frame``.
    """
    names = list(dict.fromkeys(labels))
    figure = new_figure(9.5, 1.6 + 0.48 * len(names))
    for axes, (name, text) in zip(
        figure.subplots(1, 2, sharey=True),
        (("pearson", "Pearson ρ"), ("kendall", "Kendall τ-b")),
        strict=True,
    ):
        for position, how in enumerate(HOW):
            here = (table["how"] == how).to_numpy()
            if not here.any():
                continue
            y = np.array([names.index(label) for label in np.asarray(labels)[here]], dtype=float)
            if table["how"].nunique() > 1:
                y += -0.13 if how == AS_IS else 0.13
            x, low, high = (table.loc[here, name + end].to_numpy() for end in ("", "_low", "_high"))
            axes.errorbar(
                x, y, xerr=np.nan_to_num(np.abs([x - low, high - x])), fmt="os"[position],
                markersize=5, capsize=2.5, linewidth=1.1, color=COLORS[position],
                label=HOW_NAMES[how],
            )  # fmt: skip
        for number, (_, row) in enumerate(noise.iterrows()):
            where = f" ({row['setting']})" if row["setting"] else ""
            if math.isfinite(row[name]):
                axes.axvline(
                    row[name], color="#444444", linestyle=("--", ":", "-.")[number % 3],
                    linewidth=1.0,
                    label=f"two trainings agree{where}",
                )  # fmt: skip
        axes.axvline(0.0, color="black", linewidth=0.6)
        axes.set_xlabel(f"{text} with ground truth (95 % interval)", fontsize=9)
        axes.grid(axis="x", alpha=0.25)
        axes.tick_params(labelsize=8)
    axes.set_yticks(range(len(names)), [textwrap.fill(label, 36) for label in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    handles, texts = axes.get_legend_handles_labels()
    figure.legend(handles, texts, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def _num_columns(scorers: Sequence[Scorer]) -> int:
    """A row of panels for each setting of the space, where that makes rows of equal length."""
    first = sum(scorer.setting == scorers[0].setting for scorer in scorers)
    if 1 < first <= _MOST_COLUMNS and len(scorers) % first == 0:
        return first
    return min(len(scorers), _MOST_COLUMNS)


def _colors(count: int) -> list[str]:
    return [COLORS[i % len(COLORS)] for i in range(count)]


def _signed(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
