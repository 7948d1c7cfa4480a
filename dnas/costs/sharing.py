"""Cost tables in files that several programs measure into, one after the other or at once.

A table is written as a whole. So that nobody's measurements are lost, what is in the file is read
again and merged before, under a lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dnas.costs.cost_table import CostTable, open_table


def save_shared(table: CostTable, path: str | Path) -> None:
    """Write ``table`` and what others have written into the file meanwhile.

    Args:
        table: Has afterwards what the file has.
        path: Need not exist.

    Raises:
        CostError: The file is of other conditions by now, or damaged.
    """
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(final.with_name(f".{final.name}.lock")):
        merge(table, open_table(final, table.conditions))
        table.save(final)


def merge(table: CostTable, other: CostTable) -> None:
    """Add to ``table`` what ``other`` has beside it, or measured in more rounds.

    Args:
        table: To be added to.
        other: Of the same conditions.
    """
    for operator, found in other.entries.items():
        own = table.entries.get(operator)
        if own is None or own.rounds < found.rounds:
            table.add(operator, found)
    for key, check in other.checks.items():
        table.checks[key] = merged_checks(check, table.checks.get(key, {}))
    table.date = max(table.date, other.date)


def merged_checks(check: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    """Both checks' models; one that is in both as measured in more rounds, or as in ``newer``."""
    points = {point["architecture"]: point for point in check.get("points", [])}
    for point in newer.get("points", []):
        known = points.get(point["architecture"])
        if known is None or known["rounds"] <= point["rounds"]:
            points[point["architecture"]] = point
    return {**check, **newer, "points": [points[name] for name in sorted(points)]}
