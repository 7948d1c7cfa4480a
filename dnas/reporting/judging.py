"""By which metric the rows of a table are judged: the table says it itself.

A row judged by anything but log loss says so in the column ``selection``, as ``max accuracy`` or
``min mse``; a table without that column is one of log losses. Whoever ranks rows takes
:func:`losses_of`, in which lower is better whatever the metric.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dnas.errors import JobError
from dnas.quality import FACTS, LOGLOSS, Quality

SELECTION = "selection"
#: What click models are judged and described by.
CLICK_METRICS = ("logloss", "auc", "ne", "calibration")
_VALIDATION = "validation_"


def quality_of(frame: pd.DataFrame) -> Quality:
    """What all rows are judged by; log loss for a table that says nothing, such as an empty one.

    Raises:
        JobError: Rows are judged by different metrics; see :func:`rows_of_one_quality`.
    """
    found = _selections(frame).dropna().unique().tolist()
    if len(found) > 1:
        raise JobError(
            f"there is no best architecture: trainings are judged by different metrics "
            f"({', '.join(found)}); compare those of one metric at a time"
        )
    return Quality.from_str(found[0]) if found else LOGLOSS


def rows_of_one_quality(frame: pd.DataFrame, by: pd.DataFrame) -> pd.DataFrame:
    """The rows judged by what most rows of ``by`` are judged by (of equals, the first).

    A row that does not say what it is judged by is never among them.

    Args:
        frame: As from ``results_frame``.
        by: Those of its rows that decide; all do if there are none.
    """
    selections = _selections(frame)
    known = selections[by.index].dropna()
    counts = (selections.dropna() if known.empty else known).value_counts(sort=False)
    return frame[selections == counts.idxmax()] if len(counts) else frame[selections.notna()]


def losses_of(frame: pd.DataFrame) -> pd.Series:
    """The selecting metric of each row, with its sign such that lower is better.

    NaN in rows that lack it or do not say what they are judged by.
    """
    quality = quality_of(frame)
    judged = _selections(frame).notna()
    return quality.signed(values_of(frame, quality.column)).where(judged)


def by_loss(frame: pd.DataFrame, *before: str) -> pd.DataFrame:
    """The rows by ``before``, then the best first, equal ones by job."""
    ordered = frame.assign(_loss=losses_of(frame))
    return ordered.sort_values([*before, "_loss", "job"], kind="stable").drop(columns="_loss")


def metrics_of(frame: pd.DataFrame) -> list[str]:
    """Names of the validation metrics in ``frame``: the selecting one, those of clicks, others."""
    names = [str(name).removeprefix(_VALIDATION) for name in frame.columns if _is_metric(name)]
    first = [quality_of(frame).metric, *(name for name in CLICK_METRICS if name in names)]
    return list(dict.fromkeys([*first, *names]))


def fixed_metrics(seen: Sequence[str]) -> tuple[str, ...]:
    """The metrics that have columns even where no row has a value.

    Args:
        seen: All metrics of a run's rows.

    Returns:
        Those of clicks if these may be clicks: that is where there is a normalized entropy, or log
        loss with nothing that click models do not have, or nothing yet. Else none.
    """
    names = set(seen) - FACTS
    clicks = not names or "ne" in names or (LOGLOSS.metric in names and names <= {*CLICK_METRICS})
    return CLICK_METRICS if clicks else ()


def values_of(frame: pd.DataFrame, column: str) -> pd.Series:
    """A column as numbers; NaN everywhere if the frame does not have it."""
    if column not in frame:
        return pd.Series(np.nan, index=frame.index)
    return frame[column].astype(float)


def _selections(frame: pd.DataFrame) -> pd.Series:
    if SELECTION in frame:
        return frame[SELECTION]
    return pd.Series(str(LOGLOSS), index=frame.index)


def _is_metric(column: object) -> bool:
    name = str(column)
    return name.startswith(_VALIDATION) and name.removeprefix(_VALIDATION) not in FACTS
