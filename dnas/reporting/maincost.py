"""Which of the costs is *the* cost of a run."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from dnas.reporting.frames import COST_PREFIX, cost_columns
from dnas.reporting.records import RunRecords

#: What each search space is about, where the search itself does not name its cost.
COST_OF_SPACE = {
    "emb_card": "embedding_rows",
    "emb_dim": "params",
    "joint": "params",
    "top_bottom_mlps": "flops",
}


def main_cost(frame: pd.DataFrame, records: RunRecords) -> str | None:
    """The cost column to rank by.

    It is the ``cost_metric`` that most supernet jobs were searched with; else what the search
    space is about (:data:`COST_OF_SPACE`); else the first cost that varies; else the first.

    Args:
        frame: As from ``results_frame``.
        records: The run it came from.

    Returns:
        A column of ``frame`` with at least one value, or None when no row says any cost.
    """
    costs = cost_columns(frame)
    results = [record.result for record in records.supernet if record.result is not None]
    metrics: Counter[str] = Counter()
    for result in results:
        settings = result.get("settings")
        named = settings.get("cost_metric") if isinstance(settings, dict) else None
        if named:
            # Several costs may have targets; the first one named is the main one.
            metrics[str(named[0] if isinstance(named, list) else named)] += 1
    spaces = Counter(frame["search_space"].dropna().astype(str))
    wanted = [name for name, _ in metrics.most_common()]
    wanted += [COST_OF_SPACE[space] for space, _ in spaces.most_common() if space in COST_OF_SPACE]
    for name in wanted:
        for column in (name, COST_PREFIX + name):
            if column in costs:
                return column
    return next(iter([*varying_costs(frame), *costs]), None)


def varying_costs(frame: pd.DataFrame) -> list[str]:
    """The cost columns with at least two different values."""
    return [name for name in cost_columns(frame) if frame[name].nunique() > 1]
