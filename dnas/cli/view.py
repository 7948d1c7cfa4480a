"""The live view of a run: what a manager shows on a terminal while it works."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnas.jobs.outcome import duration, one_line
from dnas.runs import RunFolder

if TYPE_CHECKING:
    from rich.console import RenderableType

Show = Callable[[dict[str, Any]], None]

_RUNNING_SHOWN = 20
_FAILURES_SHOWN = 5


@contextlib.contextmanager
def live_view(run: RunFolder, *, wanted: bool = True) -> Iterator[Show | None]:
    """Give a function that shows a run's status in place; None where plain lines are to do.

    Lines that are logged meanwhile scroll by above the view.

    Args:
        run: The run folder, whose jobs say how far they are.
        wanted: False gives None on a terminal too.
    """
    if not wanted or not sys.stderr.isatty():
        yield None
        return
    # Not at the top: a queue without a terminal must start at once.
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    with Live(console=console, auto_refresh=False, transient=True) as live, _logging_to(sys.stderr):
        yield lambda status: live.update(
            picture(status, JobProgress(run), console.width), refresh=True
        )


class JobProgress:
    """How far jobs are, as they say themselves in ``progress.json``."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def __call__(self, kind: str, job: str) -> Mapping[str, Any]:
        """The content of a job's file; empty if it has none (yet), or is being another program."""
        try:
            value = json.loads(self._run.job(kind, job).progress.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}


def picture(
    status: Mapping[str, Any],
    progress_of: Callable[[str, str], Mapping[str, Any]],
    width: int,
    now: float | None = None,
) -> RenderableType:
    """A run's status as a table and a few lines.

    Args:
        status: As in the run's ``status.json``.
        progress_of: Gives a job's ``progress.json`` for its kind and id.
        width: Columns of the terminal.
        now: Unix time; the clock's by default.
    """
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    clock = time.time() if now is None else now
    table = Table(box=None, padding=(0, 2, 0, 0), expand=False, header_style="dim")
    for name in ("slot", "job", "time", "progress", "metric"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    running = list(status.get("running", []))
    for job in running[:_RUNNING_SHOWN]:
        progress = progress_of(job["kind"], job["job"])
        begun = job.get("started")
        again = f" (attempt {job['attempt']})" if job.get("attempt", 1) > 1 else ""
        table.add_row(
            " + ".join(job.get("slot") or []),
            f"{job['kind']} {job['job'][: max(20, width - 70)]}{again}",
            "" if begun is None else duration(max(0.0, clock - begun)),
            job.get("waits_for") or how_far(progress),
            last_metric(progress),
        )
    lines = [Text(line, style=style, overflow="ellipsis") for line, style in _lines(status)]
    more = len(running) - _RUNNING_SHOWN
    rest = [Text(f"and {more} more", style="dim")] if more > 0 else []
    return Group(lines[0], table, *rest, *lines[1:])


def how_far(progress: Mapping[str, Any]) -> str:
    """Steps done as people read them, e.g. ``[####....] 1,200/2,400 weights``."""
    step, total = progress.get("step"), progress.get("total_steps")
    if not isinstance(step, int) or not isinstance(total, int) or total < 1:
        return ""
    filled = round(8 * min(1.0, step / total))
    return f"{'━' * filled}{'╌' * (8 - filled)} {step:,}/{total:,} {progress.get('phase') or ''}"


def last_metric(progress: Mapping[str, Any]) -> str:
    """The last number that a job has logged, e.g. ``loss 0.45123``."""
    metric = progress.get("metric")
    if not isinstance(metric, Mapping):
        return ""
    return " ".join(
        f"{name} {value:.5g}" for name, value in metric.items() if isinstance(value, int | float)
    )


def _lines(status: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
    """The first line, and those after the table, each with a style."""
    left = status.get("seconds_left")
    head = f"{status.get('experiment_id')}: {status.get('state')}"
    head += f", {duration(status.get('seconds') or 0.0)} so far"
    head += f", about {duration(left)} left" if left else ""
    slots = status.get("slots") or []
    if slots:
        busy = sum(slot["load"] for slot in slots)
        head += f", {busy:g} of {len(slots)} devices taken"
    lines = [(head, "bold")]
    for kind, states in (status.get("jobs") or {}).items():
        shown = ", ".join(f"{n} {state.replace('_', ' ')}" for state, n in states.items())
        lines.append((f"{kind}: {shown}", ""))
    lines += [
        (f"{waiting['jobs']} waiting {waiting['for']}", "dim")
        for waiting in status.get("waiting") or []
    ]
    failures = status.get("failures") or []
    lines += [
        (f"{f['state']}: {f['kind']} {f['job']}: {one_line(f['reason'])}", "red")
        for f in failures[-_FAILURES_SHOWN:]
    ]
    return lines


@contextlib.contextmanager
def _logging_to(stream: Any) -> Iterator[None]:
    """Have the project's log lines written to ``stream``, above the view, while the block runs."""
    handlers = [h for h in logging.getLogger("dnas").handlers if type(h) is logging.StreamHandler]
    before = [handler.setStream(stream) for handler in handlers]
    try:
        yield
    finally:
        for handler, old in zip(handlers, before, strict=True):
            if old is not None:
                handler.setStream(old)
