"""How far running jobs are, as they say themselves in ``progress.json``: for status and live view.

A job that is another program writes none, and a file may be damaged: then nothing is said.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from dnas.runs import JobFolder


def read_progress(folder: JobFolder) -> Mapping[str, Any]:
    """The content of a job's file; empty if it has none (yet) or a damaged one."""
    try:
        value = json.loads(folder.progress.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def fraction_done(progress: Mapping[str, Any]) -> float | None:
    """Between 0 and 1; None if the job does not say."""
    step, total = progress.get("step"), progress.get("total_steps")
    if not _is_count(step) or not _is_count(total) or not total:
        return None
    return float(min(1.0, step / total))


def steps_done(progress: Mapping[str, Any]) -> str:
    """Steps and what they are of, e.g. ``1,200/2,400 weights``; empty if the job does not say."""
    if fraction_done(progress) is None:
        return ""
    phase = progress.get("phase")
    what = f" {phase}" if isinstance(phase, str) and phase else ""
    return f"{progress['step']:,}/{progress['total_steps']:,}{what}"


def last_metric(progress: Mapping[str, Any]) -> str:
    """The last numbers that a job has logged, e.g. ``loss 0.45123``."""
    metric = progress.get("metric")
    if not isinstance(metric, Mapping):
        return ""
    numbers = {name: value for name, value in metric.items() if is_number(value)}
    return " ".join(f"{name} {short_number(value)}" for name, value in numbers.items())


def short_number(value: float) -> str:
    """A number in five digits; whole ones whole, with commas."""
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def is_number(value: object) -> bool:
    """Whether it is a number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
