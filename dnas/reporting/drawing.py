"""Figures without pyplot: no window, no global state, whatever backend the caller uses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dnas.files import replacing
from dnas.reporting.text import compact

DPI = 120
#: Colour-blind safe (Okabe and Ito), for few lines or groups.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LOG_RANGE = 10.0
_FEW_DECADES = 100.0


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure that draws into memory and lays its parts out without overlap.

    Args:
        width_in: Width in inches.
        height_in: Height in inches.
    """
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG by write-then-rename and return the path."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)
    return Path(path)


def scale_costs(axes: Axes, which: Literal["x", "y"], costs: np.ndarray) -> None:
    """Give an axis of costs plain numbers, and make it logarithmic when costs differ tenfold.

    Args:
        axes: The picture.
        which: Of its axes.
        costs: What is on it, shape ``(n,)``; n may be 0.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    if len(costs) and costs.min() > 0 and costs.max() > _LOG_RANGE * costs.min():
        axes.set(**{f"{which}scale": "log"})
        if costs.max() < _FEW_DECADES * costs.min():  # powers of ten alone would be one or two
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: compact(value)))
    axis.set_minor_formatter(NullFormatter())


def file_name(*parts: str) -> str:
    """Parts joined by dots, with what a file name should not hold replaced by ``_``."""
    return ".".join(re.sub(r"[^A-Za-z0-9._=+-]+", "_", part).lstrip(".") or "_" for part in parts)


def highest_shown(losses: np.ndarray) -> float:
    """The largest loss on the axis: three times the spread of the better three quarters.

    Args:
        losses: Lower is better.
    """
    if len(losses) < 4:
        return float("inf")
    low, third_quartile = losses.min(), np.quantile(losses, 0.75)
    top = low + 3.0 * (third_quartile - low)
    return float(top) if losses.max() > top > low else float("inf")
