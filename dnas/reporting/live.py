"""Where a run stands, as text: for ``dnas status``, also while the manager works.

Imports no pandas and no matplotlib, so that asking costs a fraction of a second.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnas.reporting.failures import failure_lines
from dnas.reporting.records import SUCCEEDED, JobRecord, RunRecords, count_states, read_run
from dnas.reporting.text import columns, cut, duration, plural, shorten
from dnas.runs import RunFolder

_MOST_COLUMNS = 100
_RUNNING_SHOWN = 16
_REASONS_SHOWN = 3
_TAIL_BYTES = 1 << 16


def status_text(run: RunFolder, now: float | None = None) -> str:
    """Jobs by state, what runs and how it does, what waits for what, what failed and why.

    Args:
        run: The run folder.
        now: Unix time to count from; the clock's by default.

    Returns:
        Lines of at most 100 columns, ending in a newline.

    Raises:
        JobError: ``run`` is not a run folder.
    """
    clock = time.time() if now is None else now
    records = read_run(run)
    lines = [_head(records, clock)]
    for kind, jobs in (("supernet", records.supernet), ("sampled", records.sampled)):
        lines += _stage(kind, jobs)
    lines += _running(records.jobs, clock)
    lines += _waiting(records.jobs)
    lines += failure_lines(records.jobs, most_reasons=_REASONS_SHOWN * 2, width=_MOST_COLUMNS)
    return "".join(cut(line, _MOST_COLUMNS) + "\n" for line in lines)


def last_metrics(path: Path) -> Mapping[str, Any] | None:
    """The last whole line of a metrics file, read from its end; None when there is none."""
    try:
        with open(path, "rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(handle.tell() - _TAIL_BYTES, 0))
            tail = handle.read().decode("utf-8", errors="replace")
    except OSError:
        return None
    for line in reversed(tail.splitlines()):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:  # being written, or cut by where the tail starts
            continue
        if isinstance(value, dict):
            return value
    return None


def _head(records: RunRecords, now: float) -> str:
    status = records.status
    text = f"experiment {records.experiment_id}: {status.get('state') or 'state unknown'}"
    if status.get("stage"):
        text += f", stage {status['stage']}"
    updated = _time(status.get("updated"))
    return text if updated is None else f"{text}, updated {duration(now - updated)} ago"


def _stage(kind: str, jobs: list[JobRecord]) -> list[str]:
    if not jobs:
        return [f"{kind:<10}no jobs yet"]
    counts = count_states(jobs)
    text = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in counts.items())
    lines = [f"{kind:<10}{plural(len(jobs), 'job')}: {text}"]
    spent = [s for job in jobs if job.state == SUCCEEDED and (s := _seconds(job)) is not None]
    running, queued = counts.get("running", 0), counts.get("queued", 0)
    if spent and running:
        typical = statistics.median(spent)
        # Running jobs are half done on average.
        left = typical * (queued + running / 2) / running
        lines.append(
            f"{'':<10}{duration(typical)} a job, {running} at a time: about {duration(left)} left"
        )
    return lines


def _running(jobs: list[JobRecord], now: float) -> list[str]:
    running = [job for job in jobs if job.state == "running"]
    if not running:
        return []
    table = []
    for job in running[:_RUNNING_SHOWN]:
        started = _time(job.status.get("started"))
        attempts = job.status.get("attempts")
        again = f"attempt {attempts}" if isinstance(attempts, int) and attempts > 1 else ""
        table.append(
            [
                job.name,
                str(job.status.get("slot") or ""),
                "" if started is None else duration(now - started),
                again,
            ]
        )
    heads = columns(table)
    lines = ["running"]
    for head, job in zip(heads, running, strict=False):
        metrics = last_metrics(job.folder.metrics)
        lines.append(f"{head}  {_metrics_text(metrics)}" if metrics else head)
    more = len(running) - len(heads)
    return [*lines, f"  and {more} more"] if more else lines


def _waiting(jobs: list[JobRecord]) -> list[str]:
    reasons = Counter(job.reason for job in jobs if job.state == "queued" and job.reason)
    return [
        f"{plural(count, 'job')} waiting: {shorten(reason, 80)}"
        for reason, count in reasons.most_common(_REASONS_SHOWN)
    ]


def _metrics_text(metrics: Mapping[str, Any]) -> str:
    """Numbers of one metrics line as ``name value``, nested ones too; words as they are."""
    parts = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            inner = " ".join(f"{key} {_short(v)}" for key, v in value.items() if _is_number(v))
            parts.append(f"{name} {inner}" if inner else "")
        elif name in ("event", "phase"):
            # "validation" is said again by the metrics under that name.
            said = value == "interval" or isinstance(metrics.get(str(value)), Mapping)
            parts.append("" if said else str(value))
        elif _is_number(value):
            parts.append(f"{name} {_short(value)}")
    return " ".join(part for part in parts if part)


def _short(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _seconds(job: JobRecord) -> float | None:
    """How long a finished job took: as the manager saw it, else as the job says."""
    started, ended = _time(job.status.get("started")), _time(job.status.get("ended"))
    if started is not None and ended is not None:
        return ended - started
    return _time((job.result or {}).get("seconds"))
