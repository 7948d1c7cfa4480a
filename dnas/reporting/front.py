"""Quality against cost: every trained architecture and the front that none of them beats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dnas.quality import Quality
from dnas.reporting.drawing import COLORS, highest_shown, new_figure, scale_costs
from dnas.reporting.frames import cost_label
from dnas.reporting.judging import by_loss, losses_of, quality_of
from dnas.reporting.pareto import pareto_front
from dnas.reporting.statistics import diverged_rows
from dnas.reporting.text import shorten

#: origin: (label, marker, colour, size)
_STYLES: dict[str, tuple[str, str, str, float]] = {
    "random": ("random", "X", "#7f7f7f", 46),
    "draw": ("drawn from θ", "o", COLORS[0], 36),
    "most_likely": ("most likely under θ", "*", COLORS[1], 120),
    "evolution": ("evolution", "D", COLORS[3], 40),
    "genetic": ("genetic", "d", COLORS[3], 40),
    "reinforce": ("REINFORCE", "p", COLORS[3], 46),
    "random_search": ("random search", "v", COLORS[4], 46),
    "smallest": ("smallest", "<", COLORS[5], 60),
    "largest": ("largest", ">", COLORS[5], 60),
}
_OTHER = ("other", "s", COLORS[2], 36)
_MOST_NAMED = 8
#: Names nearer to each other than this, in widths and heights of the picture, would overlap.
_NAME_ROOM = (0.16, 0.035)


@dataclass(frozen=True)
class Front:
    """The numbers behind one picture.

    Attributes:
        rows: Rows that did not diverge and have this cost, with a boolean column ``on_front``.
        cost: The cost column.
        quality: What rows are judged by.
        diverged: Rows left out because they diverged.
    """

    rows: pd.DataFrame
    cost: str
    quality: Quality
    diverged: int

    @property
    def front(self) -> pd.DataFrame:
        """The rows on the front, by rising cost."""
        return by_loss(self.rows[self.rows["on_front"]], self.cost)


def front_numbers(frame: pd.DataFrame, cost: str) -> Front:
    """Find the front of the validation metric that selects against ``cost``.

    Args:
        frame: As from ``results_frame``.
        cost: One of its cost columns.
    """
    bad = diverged_rows(frame)
    rows = frame[~bad & frame[cost].notna()].copy()
    rows["on_front"] = pareto_front(losses_of(rows), rows[cost])
    return Front(rows, cost, quality_of(frame), int(bad.sum()))


def draw_front(numbers: Front, title: str) -> Figure:
    """Draw all rows and the front; the cost axis is logarithmic when costs differ tenfold.

    Rows far worse than the others (a learning rate that was too high) are drawn as triangles on
    the edge, be they on the front or not, and counted in the legend, so that they do not flatten
    the rest.

    Args:
        numbers: As from :func:`front_numbers`.
        title: What is shown.
    """
    rows, front, quality = numbers.rows, numbers.front, numbers.quality
    figure = new_figure(8.5, 5.2)
    axes = figure.add_subplot()
    costs = rows[numbers.cost].to_numpy(np.float64)
    losses = losses_of(rows).to_numpy(np.float64)
    top = highest_shown(losses)
    origins = rows["origin"].fillna("").astype(str).to_numpy()
    known = [origin for origin in _STYLES if (origins == origin).any()]
    groups = [(_STYLES[origin], origins == origin) for origin in known]
    groups.append((_OTHER, ~np.isin(origins, list(_STYLES))))
    for (label, marker, color, size), here in groups:
        shown = here & (losses <= top)
        if here.any():
            axes.scatter(
                costs[shown], quality.signed(losses[shown]), s=size, marker=marker, color=color,
                alpha=0.75, linewidths=0.4, edgecolors="white", label=f"{label} ({here.sum()})",
                zorder=3,
            )  # fmt: skip
    above = losses > top
    if above.any():
        marker, where = ("v", "below") if quality.maximize else ("^", "above")
        axes.scatter(
            costs[above], np.full(above.sum(), quality.signed(top)), s=30, marker=marker,
            facecolors="none", edgecolors="#444444", label=f"{where} the axis ({above.sum()})",
            zorder=3, clip_on=False,
        )  # fmt: skip
    x = front[numbers.cost].to_numpy(np.float64)
    y = quality.signed(np.minimum(losses_of(front).to_numpy(np.float64), top))
    axes.step(
        x, y, where="post", color="black", linewidth=1.2, zorder=2, label="Pareto front (job ids)"
    )
    scale_costs(axes, "x", costs)
    axes.margins(x=0.08, y=0.08)
    _name_points(axes, x, y, front)
    corner, height, anchor = ("↖", 0.985, "top") if quality.maximize else ("↙", 0.015, "bottom")
    axes.text(
        0.01, height, f"{corner} better", transform=axes.transAxes, va=anchor, fontsize=8,
        color="#444444",
    )  # fmt: skip
    axes.set_xlabel(cost_label(numbers.cost))
    axes.set_ylabel(f"validation {quality.words} ({quality.direction})")
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.grid(alpha=0.25)
    left_out = f" ({numbers.diverged} diverged, left out)" if numbers.diverged else ""
    axes.set_title(shorten(title, 80) + left_out, fontsize=10)
    figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure


def _name_points(axes: Axes, x: np.ndarray, y: np.ndarray, front: pd.DataFrame) -> None:
    """Write job names beside front points, the best first; where there is no room, none."""
    if not len(x):
        return
    axes.autoscale_view()
    to_axes = axes.transData + axes.transAxes.inverted()
    places = to_axes.transform(np.column_stack([x, y]))  # (n, 2)
    named: list[int] = []
    for i in reversed(range(len(x))):
        near = (np.abs(places[named] - places[i]) < _NAME_ROOM).all(axis=1)
        if len(named) == _MOST_NAMED or near.any():
            continue
        named.append(i)
        # Names are beside their points, to the left where the picture ends.
        right = places[i, 0] > 1 - _NAME_ROOM[0]
        axes.annotate(
            shorten(str(front["job"].iloc[i]), 24), (x[i], y[i]), ha="right" if right else "left",
            xytext=(-5 if right else 5, 6), textcoords="offset points", fontsize=7.5, zorder=4,
        )  # fmt: skip
