"""Figures 3 and 4 of AutoTower's paper, from the measurements of ``tower_real_data.py``.

Figure 3: R@50 and MACs / 2 of searched networks against the number of blocks of a tower. Figure 4:
R@50 and N@50 against the dimension of the tables. The paper draws one protocol, without errors;
here are three, each with the standard deviation over seeds.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes

from dnas.data.retrieval import TEST_PROTOCOLS
from dnas.reporting.drawing import COLORS, new_figure, save_figure

_SIZE = (9.0, 3.6)
_MARKERS = ("o", "s", "^")
#: So that the error bars of protocols do not cover each other, in places of the axis.
_APART = 0.06


def draw_figure_3(found: Mapping[int, Mapping[str, Any]], limit: float, path: Path) -> None:
    """R@50, and costs below the limit that they were searched with.

    Args:
        found: Number of blocks -> the figures of its network.
        limit: MACs / 2, in units.
        path: Of a PNG file.
    """
    figure = new_figure(*_SIZE)
    left, right = figure.subplots(1, 2)
    _by_protocol(left, found, "recall50", "R@50, %")
    places = range(len(found))
    costs = [one["costs"]["paper_flops"] / 1e6 for one in found.values()]
    right.bar(places, costs, color="0.6", width=0.6)
    right.axhline(limit / 1e6, color="black", linestyle="--", linewidth=1)
    across = right.get_yaxis_transform()
    right.text(
        0.99, limit / 1e6, "limit", ha="right", va="bottom", fontsize="small", transform=across
    )
    right.set_ylim(0, limit / 1e6 * 1.15)
    right.set_ylabel("MACs / 2 of both towers, millions")
    for axes in (left, right):
        _label(axes, found, "blocks of each tower")
    save_figure(figure, path)


def draw_figure_4(found: Mapping[int, Mapping[str, Any]], path: Path) -> None:
    """R@50 and N@50 against the dimension.

    Args:
        found: Dimension -> the figures of its network.
        path: Of a PNG file.
    """
    figure = new_figure(*_SIZE)
    pairs = (("recall50", "R@50, %"), ("ndcg50", "N@50, %"))
    for axes, (metric, title) in zip(figure.subplots(1, 2), pairs, strict=True):
        _by_protocol(axes, found, metric, title)
        _label(axes, found, "dimension of the tables")
    save_figure(figure, path)


def _by_protocol(
    axes: Axes, found: Mapping[int, Mapping[str, Any]], metric: str, title: str
) -> None:
    """Mean over seeds with its standard deviation, a line for each protocol."""
    for number, (protocol, marker) in enumerate(zip(TEST_PROTOCOLS, _MARKERS, strict=True)):
        values = [
            [100 * test[f"{metric}{protocol.suffix}"] for test in one["test"]]
            for one in found.values()
        ]
        places = [place + _APART * (number - 1) for place in range(len(found))]
        axes.errorbar(
            places,
            [statistics.mean(each) for each in values],
            yerr=[statistics.stdev(each) for each in values],
            color=COLORS[number],
            marker=marker,
            markersize=4,
            capsize=3,
            linewidth=1.2,
            label=protocol.suffix.removeprefix("."),
        )
    axes.set_ylabel(title)
    axes.legend(
        fontsize="small", frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0)
    )


def _label(axes: Axes, values: Collection[int], title: str) -> None:
    axes.set_xticks(range(len(values)), [str(value) for value in values])
    axes.set_xlim(-0.5, len(values) - 0.5)
    axes.set_xlabel(title)
    axes.spines[["top", "right"]].set_visible(False)
