"""Min, mean, median and max over trained architectures: Tables III-V of the paper.

"Note that these statistics are over each sampled architecture's minimum validation loss epoch"
(arXiv 2110.14812, VII-C). There, one training that had failed (log loss 20.55) made the mean of
Table V 1.437 where the median was 0.4467; so trainings that diverged are left out here, and
counted.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from dnas.quality import LOGLOSS
from dnas.reporting.frames import cost_columns
from dnas.reporting.judging import (
    CLICK_METRICS,
    fixed_metrics,
    losses_of,
    metrics_of,
    quality_of,
    values_of,
)

#: A loss this many times that of always predicting the click rate is a failure of training.
DIVERGED_NORMALIZED_ENTROPY = 2.0
#: The same, in multiples of the run's median loss, where normalized entropy is not known.
DIVERGED_TIMES_MEDIAN = 3.0

CALIBRATION_DISTANCE = "validation_calibration_distance"
STATISTICS = ("min", "mean", "median", "max")
SEARCHED, RANDOM, GIVEN = "searched", "random", "given"
#: Origins of the cheapest and the dearest architecture of a space.
EXTREMES = ("smallest", "largest")


def diverged_rows(frame: pd.DataFrame) -> pd.Series:
    """Mark trainings whose selecting metric is NaN, infinite or absurd.

    Absurd is, of clicks, a normalized entropy above :data:`DIVERGED_NORMALIZED_ENTROPY`; in rows
    without that metric, a log loss above :data:`DIVERGED_TIMES_MEDIAN` times the median of all
    rows. Elsewhere no value is absurd: a share, such as accuracy, is bounded and cannot spoil a
    mean; an error, such as MSE, has no scale that is known here; and the log loss of a choice among
    classes is near 0 where all are right, so that a network that is three times as wrong as most
    may be a small one.

    Args:
        frame: As from ``results_frame``.

    Returns:
        Booleans with the index of ``frame``.
    """
    loss = losses_of(frame)
    finite = pd.Series(np.isfinite(loss), index=frame.index)
    if quality_of(frame) != LOGLOSS or not fixed_metrics(metrics_of(frame)):
        return ~finite
    entropy = values_of(frame, "validation_ne")
    limit = DIVERGED_TIMES_MEDIAN * loss[finite].median()
    absurd = (entropy > DIVERGED_NORMALIZED_ENTROPY) | (entropy.isna() & (loss > limit))
    return ~finite | absurd


def population(frame: pd.DataFrame) -> pd.Series:
    """``random`` for architectures drawn without a search, ``given`` for those that a person
    chose (hand-crafted baselines) and for the extremes of a space, ``searched`` for all others.
    """
    origins = frame["origin"].replace(dict.fromkeys(EXTREMES, GIVEN))
    return origins.where(origins.isin((RANDOM, GIVEN)), SEARCHED)


def statistics_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """The paper's tables, for each search space and population of architectures.

    Args:
        frame: As from ``results_frame``.

    Returns:
        Columns ``search_space``, ``population``, ``statistic`` (``min``, ``mean``, ``median``,
        ``max``, then ``rows``: trainings counted, ``diverged``: trainings left out), the
        selecting validation metric, :data:`CALIBRATION_DISTANCE` (``|calibration - 1|``) if there
        is calibration, the other metrics of clicks, or of another task all others, and every cost.
    """
    values = pd.DataFrame(_metric_columns(frame), index=frame.index).assign(
        **{name: frame[name].astype(float) for name in cost_columns(frame)}
    )
    bad = diverged_rows(frame)
    tables = []
    groups = [frame["search_space"].fillna("").astype(str), population(frame)]
    for (space, who), rows in values.groupby(groups, sort=True):
        kept = rows[~bad[rows.index]]
        table = kept.agg(list(STATISTICS)) if len(kept) else pd.DataFrame(index=list(STATISTICS))
        table = table.reindex(columns=values.columns)
        table.loc["rows"] = kept.notna().sum().astype(float)
        table.loc["diverged"] = float(bad[rows.index].sum())
        table.insert(0, "search_space", str(space))
        table.insert(1, "population", str(who))
        tables.append(table.rename_axis("statistic").reset_index())
    columns = ["search_space", "population", "statistic", *values.columns]
    return pd.concat(tables)[columns] if tables else pd.DataFrame(columns=columns)


def _metric_columns(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """What statistics are of, the selecting metric first."""
    first, *others = metrics_of(frame)
    if "ne" in others:  # clicks: what else there may be is in results.csv
        others = [name for name in others if name in CLICK_METRICS]
    found = {f"validation_{first}": values_of(frame, f"validation_{first}")}
    if "calibration" in others:
        others.remove("calibration")
        found[CALIBRATION_DISTANCE] = (values_of(frame, "validation_calibration") - 1.0).abs()
    return found | {f"validation_{name}": values_of(frame, f"validation_{name}") for name in others}
