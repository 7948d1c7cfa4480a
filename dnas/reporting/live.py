"""Where a run stands, as text: for ``dnas status``, also while the manager works.

Imports no pandas and no matplotlib, so that asking costs a fraction of a second.
"""

from __future__ import annotations

import json
import math
import statistics
import textwrap
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dnas.reporting.failures import failure_lines
from dnas.reporting.progress import (
    fraction_done,
    is_number,
    last_metric,
    read_progress,
    short_number,
    steps_done,
)
from dnas.reporting.records import (
    SUCCEEDED,
    UNFINISHED,
    JobRecord,
    RunRecords,
    count_states,
    read_run,
)
from dnas.reporting.text import columns, cut, duration, plural, shorten
from dnas.runs import RunFolder

_MOST_COLUMNS = 100
_RUNNING_SHOWN = 16
_REASONS_SHOWN = 3
_REASON_LINES = 3
_LONGEST_NAME = 48
_TAIL_BYTES = 1 << 16
_NO_MANAGER = "no manager works on this run; start the same command again to go on"


def status_text(run: RunFolder, now: float | None = None, *, worked_on: bool | None = None) -> str:
    """Jobs by state, devices, what runs and how far it is, what waits and why, what failed and why.

    Args:
        run: The run folder.
        now: Unix time to count from; the clock's by default.
        worked_on: Whether a manager works on the run; None if that is not known.

    Returns:
        Lines of at most 100 columns, ending in a newline.

    Raises:
        JobError: ``run`` is not a run folder.
    """
    clock = time.time() if now is None else now
    records = read_run(run)
    # What the manager last said of the moment is not true any more when it has gone.
    status = {} if worked_on is False else records.status
    left = _seconds_left(status, clock)
    lines = [_head(records, clock, left)]
    if worked_on is False and any(job.state in UNFINISHED for job in records.jobs):
        lines.append(_NO_MANAGER)
    lines += _stop_reason(records.status)
    for kind, jobs in records.stages:
        lines += _stage(kind, jobs, estimate=left is None)
    lines += _devices(status)
    lines += _running(records.jobs, _mappings(status.get("running")), clock)
    lines += _waiting(records.jobs, status)
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


def _head(records: RunRecords, now: float, left: float | None) -> str:
    status = records.status
    text = f"experiment {records.experiment_id}: {status.get('state') or 'state unknown'}"
    if status.get("stage"):
        text += f", stage {status['stage']}"
    if left is not None:
        text += f", about {duration(left)} left"
    updated = _time(status.get("updated"))
    return text if updated is None else f"{text}, updated {duration(now - updated)} ago"


def _seconds_left(status: Mapping[str, Any], now: float) -> float | None:
    """The manager's estimate, counted on from when it was made."""
    left, updated = _time(status.get("seconds_left")), _time(status.get("updated"))
    if left is None or status.get("state") != "running":
        return None
    return max(0.0, left - (0.0 if updated is None else now - updated))


def _stop_reason(status: Mapping[str, Any]) -> list[str]:
    """Why no more jobs are started, with what to do about it."""
    reason = " ".join(str(status.get("reason") or "").split())
    lines = textwrap.wrap(reason, _MOST_COLUMNS - 10, break_on_hyphens=False)
    shown = lines[:_REASON_LINES]
    if len(lines) > len(shown):
        shown[-1] = cut(shown[-1] + " " + lines[_REASON_LINES], _MOST_COLUMNS - 10)
    return [f"{'reason' if i == 0 else '':<10}{line}" for i, line in enumerate(shown)]


def _stage(kind: str, jobs: list[JobRecord], *, estimate: bool) -> list[str]:
    if not jobs:
        return [f"{kind:<10}no jobs yet"]
    counts = count_states(jobs)
    text = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in counts.items())
    lines = [f"{kind:<10}{plural(len(jobs), 'job')}: {text}"]
    spent = [s for job in jobs if job.state == SUCCEEDED and (s := _seconds(job)) is not None]
    running, queued = counts.get("running", 0), counts.get("queued", 0)
    if spent and running:
        typical = statistics.median(spent)
        line = f"{'':<10}{duration(typical)} a job, {running} at a time"
        if estimate:
            # Running jobs are half done on average.
            left = typical * (queued + running / 2) / running
            line += f": about {duration(left)} left"
        lines.append(line)
    return lines


def _devices(status: Mapping[str, Any]) -> list[str]:
    """Which devices are taken, and by how much where that is a part."""
    slots = [slot for slot in _mappings(status.get("slots")) if is_number(slot.get("load"))]
    if not slots or status.get("state") != "running":
        return []
    taken = [
        str(slot.get("slot")) + (f" ({100 * slot['load']:.0f} %)" if slot["load"] < 1 else "")
        for slot in slots
        if slot["load"] > 0
    ]
    text = f"{'devices':<10}{len(taken)} of {len(slots)} taken"
    return [f"{text}: {', '.join(taken)}" if taken else text]


def _running(jobs: list[JobRecord], said: list[Mapping[str, Any]], now: float) -> list[str]:
    running = [job for job in jobs if job.state == "running"]
    if not running:
        return []
    waits = {(str(s.get("kind")), str(s.get("job"))): s.get("waits_for") for s in said}
    table, notes = [], []
    for job in running[:_RUNNING_SHOWN]:
        started = _time(job.status.get("started"))
        attempts = job.status.get("attempts")
        again = f"attempt {attempts}" if isinstance(attempts, int) and attempts > 1 else ""
        progress = read_progress(job.folder)
        done = fraction_done(progress)
        table.append(
            [
                shorten(job.name, _LONGEST_NAME),
                job.place,
                "" if started is None else duration(now - started),
                again,
                "" if done is None else f"{math.floor(100 * done)} %",
            ]
        )
        waits_for = waits.get((job.kind, job.id))
        notes.append(f"waits for {waits_for}" if waits_for else _how_it_does(job, progress))
    heads = columns(_without_empty_columns(table))
    width = max(map(len, heads))
    lines = [f"{head:<{width}}  {note}".rstrip() for head, note in zip(heads, notes, strict=True)]
    more = len(running) - len(lines)
    return ["running", *lines, *([f"  and {more} more"] if more else [])]


def _without_empty_columns(table: list[list[str]]) -> list[list[str]]:
    kept = [i for i in range(len(table[0])) if any(row[i] for row in table)]
    return [[row[i] for i in kept] for row in table]


def _how_it_does(job: JobRecord, progress: Mapping[str, Any]) -> str:
    """Steps and numbers from the job's progress file, else from its last line of metrics."""
    found = f"{steps_done(progress)} {last_metric(progress)}".strip()
    return found or _metrics_text(last_metrics(job.folder.metrics) or {})


def _waiting(jobs: list[JobRecord], status: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{plural(one['jobs'], 'job')} waiting: {shorten(str(one.get('for')), 80)}"
        for one in _mappings(status.get("waiting"))
        # Why no more are started at all has been said.
        if isinstance(one.get("jobs"), int) and one.get("for") != status.get("reason")
    ]
    reasons = Counter(job.reason for job in jobs if job.state == "queued" and job.reason)
    return lines + [
        f"{plural(count, 'job')} queued again: {shorten(reason, 80)}"
        for reason, count in reasons.most_common(_REASONS_SHOWN)
    ]


def _metrics_text(metrics: Mapping[str, Any]) -> str:
    """Numbers of one metrics line as ``name value``, nested ones too; words as they are."""
    parts = []
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            inner = [f"{key} {short_number(v)}" for key, v in value.items() if is_number(v)]
            parts.append(" ".join([name, *inner]) if inner else "")
        elif name in ("event", "phase"):
            # "validation" is said again by the metrics under that name.
            said = value == "interval" or isinstance(metrics.get(str(value)), Mapping)
            parts.append("" if said else str(value))
        elif is_number(value):
            parts.append(f"{name} {short_number(value)}")
    return " ".join(part for part in parts if part)


def _mappings(value: object) -> list[Mapping[str, Any]]:
    """The objects in a list that a damaged file may hold anything in place of."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _time(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _seconds(job: JobRecord) -> float | None:
    """How long a finished job took: as the manager saw it, else as the job says."""
    started, ended = _time(job.status.get("started")), _time(job.status.get("ended"))
    if started is not None and ended is not None:
        return ended - started
    return _time((job.result or {}).get("seconds"))
