"""Which of the costs is *the* cost of a run: what its searches were told to mind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pandas as pd

from dnas.reporting.frames import COST_PREFIX, cost_columns, mapping
from dnas.reporting.records import RunRecords
from dnas.runs import SUPERNET

#: Settings that name costs, the plainest first. ``cost_metric`` is how runs of version 1 spell
#: ``cost``.
_NAMING = ("cost", "cost_metric", "cost_target", "cost_limit")


def main_cost(frame: pd.DataFrame, records: RunRecords) -> str | None:
    """The cost column to rank by.

    It is the cost that most supernet jobs were searched with, as their settings say; else the usual
    one of their search space (``default_cost`` of results); else the first cost that varies; else
    the first.

    Args:
        frame: As from ``results_frame``.
        records: The run it came from.

    Returns:
        A column of ``frame`` with at least one value, or None when no row says any cost.
    """
    costs = cost_columns(frame)
    searched: Counter[str] = Counter()
    usual: Counter[str] = Counter()
    for record in (*records.supernet, *records.sampled):
        result = mapping(record.result)
        named = named_cost(mapping(result.get("settings"))) if record.kind == SUPERNET else None
        if named is not None:
            searched[named] += 1
        if isinstance(default := result.get("default_cost"), str):
            usual[default] += 1
    for name, _ in (*searched.most_common(), *usual.most_common()):
        for column in (name, COST_PREFIX + name):
            if column in costs:
                return column
    return next(iter([*varying_costs(frame), *costs]), None)


def named_cost(settings: Mapping[str, Any]) -> str | None:
    """The cost that a search's settings name; of several, the first.

    Args:
        settings: As resolved: ``cost`` is a name, ``cost_metric`` a name or a list of names,
            ``cost_target`` and ``cost_limit`` hold ``name=value``, or plain values, which name
            none.
    """
    for flag in _NAMING:
        value = settings.get(flag)
        for word in value if isinstance(value, list) else [value]:
            name, equals, _ = str(word or "").partition("=")
            if name and (equals or flag in ("cost", "cost_metric")):
                return name
    return None


def varying_costs(frame: pd.DataFrame) -> list[str]:
    """The cost columns with at least two different values."""
    return [name for name in cost_columns(frame) if frame[name].nunique() > 1]
