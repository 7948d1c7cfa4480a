"""Tables, pictures and texts made from the result files of a run; needs no torch.

Names are loaded when first used, so that ``status_text`` does not wait for pandas and seaborn.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dnas.reporting.comparison import Comparison, compare
    from dnas.reporting.frames import cost_columns, failures_frame, results_frame
    from dnas.reporting.front import draw_front, front_numbers
    from dnas.reporting.heatmap import draw_heatmap, heatmap_numbers
    from dnas.reporting.live import status_text
    from dnas.reporting.maincost import main_cost
    from dnas.reporting.pareto import pareto_front
    from dnas.reporting.ranking_report import make_ranking_report
    from dnas.reporting.report import make_report
    from dnas.reporting.statistics import diverged_rows, statistics_frame
    from dnas.reporting.theta import read_theta

__all__ = [
    "Comparison",
    "compare",
    "cost_columns",
    "diverged_rows",
    "draw_front",
    "draw_heatmap",
    "failures_frame",
    "front_numbers",
    "heatmap_numbers",
    "main_cost",
    "make_ranking_report",
    "make_report",
    "pareto_front",
    "read_theta",
    "results_frame",
    "statistics_frame",
    "status_text",
]

_HOME = {
    "Comparison": "comparison",
    "compare": "comparison",
    "cost_columns": "frames",
    "diverged_rows": "statistics",
    "draw_front": "front",
    "draw_heatmap": "heatmap",
    "failures_frame": "frames",
    "front_numbers": "front",
    "heatmap_numbers": "heatmap",
    "main_cost": "maincost",
    "make_ranking_report": "ranking_report",
    "make_report": "report",
    "pareto_front": "pareto",
    "read_theta": "theta",
    "results_frame": "frames",
    "statistics_frame": "statistics",
    "status_text": "live",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
