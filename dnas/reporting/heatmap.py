"""Heatmaps of what the search believed: figures 9 and 10 of the paper.

One row for each decision (a feature, a layer), one column for each option, and in the cells the
softmax of theta, which is the probability with which a random draw takes that option.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn
from matplotlib.figure import Figure

from dnas.reporting.drawing import new_figure
from dnas.reporting.text import shorten
from dnas.reporting.theta import FloatArray, ThetaHistory

_LONGEST_NAME = 32
_LONGEST_COLUMN = 14
#: Above these, a number in each cell is no longer readable.
_ANNOTATED_ROWS, _ANNOTATED_COLUMNS = 64, 14
#: Above these, only every n-th row is labelled and the picture grows no further.
_LABELLED_ROWS = 120


@dataclass(frozen=True)
class Heatmap:
    """The numbers of one picture at one moment.

    Attributes:
        values: Probabilities, one row and column for each label, NaN for absent options.
        row_title: What a row is.
        column_title: What a column is.
        step: Global step of the search.
        theta_epochs: Epochs of theta training done by then.
    """

    values: pd.DataFrame
    row_title: str
    column_title: str
    step: int
    theta_epochs: float


def heatmap_numbers(history: ThetaHistory, picture: str, moment: int = -1) -> Heatmap:
    """The table behind one heatmap.

    Args:
        history: As from ``read_theta``.
        picture: Name of one of its pictures.
        moment: Index into the recorded moments; the last by default.

    Raises:
        KeyError: There is no such picture.
    """
    shown = next((p for p in history.pictures if p.name == picture), None)
    if shown is None:
        raise KeyError(f"no picture {picture!r}; there are {[p.name for p in history.pictures]}")
    names = [shorten(row, _LONGEST_NAME) for row in shown.rows]
    if shown.row_notes is not None:
        notes = [shorten(note, _LONGEST_NAME) for note in shown.row_notes]
        names = [
            f"{row}  ({note})" if note else row for row, note in zip(names, notes, strict=True)
        ]
    values: FloatArray = np.asarray(shown.probability[moment], dtype=np.float64)
    return Heatmap(
        values=pd.DataFrame(
            values, index=names, columns=[shorten(name, _LONGEST_COLUMN) for name in shown.columns]
        ),
        row_title=shown.row_title,
        column_title=shown.column_title,
        step=int(history.step[moment]),
        theta_epochs=float(history.theta_epochs[moment]),
    )


def draw_heatmap(heatmap: Heatmap, title: str) -> Figure:
    """Draw one heatmap; options that a row does not have are grey and hatched.

    Args:
        heatmap: The numbers.
        title: First line above the picture (run, job, picture); the moment is the second.
    """
    values = heatmap.values
    rows, columns = values.shape
    annotate = rows <= _ANNOTATED_ROWS and columns <= _ANNOTATED_COLUMNS
    labels = max((len(str(name)) for name in values.index), default=0)
    column_labels = max((len(str(name)) for name in values.columns), default=0)
    cell_width = min(max(0.62 if annotate else 0.3, 0.095 * column_labels), 1.2)
    figure = new_figure(
        width_in=min(max(0.085 * labels + cell_width * columns + 1.9, 5.0), 24.0),
        height_in=0.27 * min(max(rows, 3), _LABELLED_ROWS) + 1.5,
    )
    axes = figure.add_subplot()
    axes.patch.set(facecolor="#d9d9d9", edgecolor="#9a9a9a", hatch="////")
    every = -(-rows // _LABELLED_ROWS)
    seaborn.heatmap(  # leaves NaN cells out, so that the hatched background shows there
        values,
        ax=axes,
        vmin=0.0,
        vmax=1.0,
        cmap="Blues",
        annot=annotate,
        fmt=".2f",
        annot_kws={"size": 8},
        linewidths=0.5 if annotate else 0.0,
        linecolor="white",
        yticklabels=every,
        xticklabels=1 if columns <= 60 else "auto",
        cbar_kws={"label": "probability, softmax(θ)", "fraction": 0.05, "pad": 0.02, "aspect": 30},
    )
    axes.tick_params(axis="y", labelrotation=0, labelsize=8)
    crowded = column_labels * 0.085 > cell_width
    axes.tick_params(axis="x", labelrotation=45 if crowded else 0, labelsize=8)
    axes.set_xlabel(heatmap.column_title)
    axes.set_ylabel(heatmap.row_title)
    moment = f"step {heatmap.step:,}, {heatmap.theta_epochs:.4g} θ epochs"
    hatched = "; hatched: no such option" if values.isna().to_numpy().any() else ""
    wide = max(int(figure.get_figwidth() * 11), 40)
    figure.suptitle(f"{shorten(title, wide)}\n{moment}{hatched}", fontsize=10)
    return figure
