"""How decided the search became: entropy of softmax(theta) over time, a line for each Choice."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dnas.reporting.drawing import COLORS, new_figure
from dnas.reporting.text import shorten
from dnas.reporting.theta import ThetaHistory

#: Above this mean final entropy, draws are little else than random choice.
NEARLY_UNIFORM = 0.95
_MOST_LABELLED = 14


def entropy_numbers(history: ThetaHistory) -> pd.DataFrame:
    """Entropy by moment: a column for each Choice, indexed by epochs of theta training.

    When no epoch of theta training passed between the moments, the index is the step.
    """
    epochs = np.asarray(history.theta_epochs, dtype=np.float64)
    index = (
        pd.Index(epochs, name="theta_epochs")
        if np.ptp(epochs) > 0
        else pd.Index(history.step, name="step")
    )
    return pd.DataFrame({name: np.asarray(e) for name, e in history.entropy.items()}, index=index)


def draw_entropy(numbers: pd.DataFrame, title: str) -> Figure:
    """Draw entropies over time; with many Choices the lines are thin and their mean stands out.

    Args:
        numbers: As from :func:`entropy_numbers`.
        title: What is shown.
    """
    many = len(numbers.columns) > _MOST_LABELLED
    figure = new_figure(8.0, 4.2)
    axes = figure.add_subplot()
    marker = "o" if len(numbers) <= 12 else None
    if many:
        for name in numbers.columns:
            axes.plot(numbers.index, numbers[name], color="#9db8d2", linewidth=0.8)
        mean = numbers.mean(axis=1)
        label = f"mean of {len(numbers.columns)} choices"
        axes.plot(numbers.index, mean, color=COLORS[1], linewidth=2.2, label=label, marker=marker)
    else:
        for i, name in enumerate(numbers.columns):
            axes.plot(
                numbers.index,
                numbers[name],
                color=COLORS[i % len(COLORS)],
                linestyle="-" if i < len(COLORS) else "--",
                linewidth=1.6,
                marker=marker,
                markersize=4,
                label=shorten(str(name), 28),
            )
    axes.set_ylim(-0.02, 1.09)
    axes.axhline(1.0, color="#888888", linewidth=0.8, linestyle=":")
    axes.text(
        0.01, 1.01, "uniform", transform=axes.get_yaxis_transform(), fontsize=8, color="#666666",
        va="bottom",
    )  # fmt: skip
    axes.set_xlabel("θ epochs" if numbers.index.name == "theta_epochs" else "step")
    axes.set_ylabel("entropy / log(options)")
    axes.grid(alpha=0.25)
    axes.set_title(shorten(title, 90), fontsize=10)
    if len(numbers.columns):
        figure.legend(loc="outside right upper", fontsize=8, frameon=False)
    return figure
