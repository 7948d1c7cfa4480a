"""The live view of a run: what a manager shows on a terminal while it works."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dnas.jobs.outcome import duration, one_line
from dnas.reporting.progress import fraction_done, last_metric, read_progress, steps_done
from dnas.reporting.text import plural, shorten
from dnas.runs import RunFolder

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

logger = logging.getLogger(__name__)

Show = Callable[[dict[str, Any]], None]

_RUNNING_SHOWN = 20
_FAILURES_SHOWN = 5
#: From so many columns on there is room for bars and step counts.
_WIDE = 90
_STYLES = {"queued": "dim", "running": "cyan", "succeeded": "green", "cancelled": "dim"}


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
    broken = False

    def progress_of(kind: str, job: str) -> Mapping[str, Any]:
        return read_progress(run.job(kind, job))

    with Live(console=console, auto_refresh=False, transient=True) as live, _logging_above(console):

        def show(status: dict[str, Any]) -> None:
            nonlocal broken
            if broken:
                return
            try:
                live.update(picture(status, progress_of, console.width), refresh=True)
            except Exception as error:
                # A terminal that has gone, or a defect here, must not end the jobs.
                broken = True
                logger.warning("the live view has ended: %s: %s", type(error).__name__, error)

        yield show


def picture(
    status: Mapping[str, Any],
    progress_of: Callable[[str, str], Mapping[str, Any]],
    width: int,
    now: float | None = None,
) -> RenderableType:
    """A run's status as a few lines and a table of what runs.

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
    running = list(status.get("running") or [])
    rows = [
        _cells(job, progress_of(job["kind"], job["job"]), width, clock)
        for job in running[:_RUNNING_SHOWN]
    ]
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    widths = _widths(rows, width)
    for style, column in zip(("cyan", "", "dim", "", "green"), widths, strict=True):
        table.add_column(style=style, width=column, no_wrap=True, overflow="ellipsis")
    for job, cells in zip(running, rows, strict=False):
        # A name is cut in its middle: its number and its hash are at its ends.
        beside = len(cells[1]) - len(job["job"])
        name = shorten(job["job"], max(1, widths[1] - beside))
        table.add_row(shorten(cells[0], widths[0]), cells[1].replace(job["job"], name), *cells[2:])
    more = len(running) - _RUNNING_SHOWN
    lines = [
        *_head(status),
        *_kinds(status, width),
        table if running else None,
        Text(f"and {more} more", style="dim") if more > 0 else None,
        *_waiting(status),
        *_failures(status, width),
    ]
    return Group(*(line for line in lines if line is not None))


def _cells(
    job: Mapping[str, Any], progress: Mapping[str, Any], width: int, clock: float
) -> tuple[str, ...]:
    """A running job's line: devices, name, time, how far it is, and its numbers."""
    begun = job.get("started")
    again = f" (attempt {job['attempt']})" if job.get("attempt", 1) > 1 and width >= _WIDE else ""
    return (
        " + ".join(job.get("slot") or []),
        f"{job['kind']} {job['job']}{again}",
        "" if begun is None else duration(max(0.0, clock - begun)),
        f"waits for {job['waits_for']}" if job.get("waits_for") else _how_far(progress, width),
        last_metric(progress),
    )


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Columns for each cell of a line: what is short has what it needs, the name has the rest."""
    slot, name, took, far, metric = (
        max((len(row[i]) for row in rows), default=1) for i in range(5)
    )
    slot = min(slot, max(6, width // 6))
    left = width - slot - took - 2 * 5
    far, metric = min(far, max(8, left // 3)), min(metric, left // 4)
    name = min(name, left - far - metric)
    return [max(1, column) for column in (slot, name, took, far, metric)]


def _how_far(progress: Mapping[str, Any], width: int) -> str:
    """Steps done, as much of it as fits."""
    done = fraction_done(progress)
    if done is None:
        return ""
    if width < _WIDE:
        return f"{math.floor(100 * done)} %"
    return f"{_bar(done, 8)} {steps_done(progress)}"


def _bar(done: float, width: int) -> str:
    filled = math.floor(width * done)
    return "━" * filled + "╌" * (width - filled)


def _head(status: Mapping[str, Any]) -> list[Text]:
    left = status.get("seconds_left")
    words = [f"{status.get('state')}, {duration(status.get('seconds') or 0.0)} so far"]
    words += [f"about {duration(left)} left"] if left else []
    slots = status.get("slots") or []
    if slots:
        busy = sum(slot["load"] for slot in slots)
        words.append(f"{busy:g} of {plural(len(slots), 'device')} taken")
    return [_line((f"{status.get('experiment_id')}: ", "bold"), (", ".join(words), "bold"))]


def _kinds(status: Mapping[str, Any], width: int) -> list[Text]:
    """For each kind of job how many have ended, and how."""
    from rich.text import Text

    lines = []
    for kind, states in (status.get("jobs") or {}).items():
        total = sum(states.values())
        ended = total - states.get("queued", 0) - states.get("running", 0)
        bar = _bar(ended / total, 16) + " " if width >= _WIDE and total else ""
        parts: list[tuple[str, str]] = [(f"{kind:<9}{bar}{ended}/{total}", "")]
        for state, number in states.items():
            parts.append((f"  {number} {state.replace('_', ' ')}", _STYLES.get(state, "red")))
        lines.append(Text.assemble(*parts))  # wrapped, for failures come last
    return lines


def _waiting(status: Mapping[str, Any]) -> list[Text]:
    return [
        _line((f"{plural(waiting['jobs'], 'job')} waiting: {waiting['for']}", "dim"))
        for waiting in status.get("waiting") or []
    ]


def _failures(status: Mapping[str, Any], width: int) -> list[Text]:
    failures = (status.get("failures") or [])[-_FAILURES_SHOWN:]
    more = status.get("num_failures", 0) - len(failures)
    lines = [
        _line(
            (f"{f['state'].replace('_', ' ')}: ", "red"),
            (f"{f['kind']} {shorten(f['job'], width // 3)}: {one_line(f['reason'])}", ""),
        )
        for f in failures
    ]
    earlier = f"and {more} that failed before; dnas status lists them"
    return [*lines, *([_line((earlier, "dim"))] if more > 0 else [])]


def _line(*parts: tuple[str, str]) -> Text:
    """One line that is cut where the terminal ends."""
    from rich.text import Text

    return Text.assemble(*parts, no_wrap=True, overflow="ellipsis")


class _Above:
    """Writes lines above a live view, as long as they are: the terminal wraps them, not we."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> None:
        self._console.out(text.removesuffix("\n"), highlight=False)

    def flush(self) -> None:
        """Nothing is kept back."""


@contextlib.contextmanager
def _logging_above(console: Console) -> Iterator[None]:
    """Have the project's log lines written above the view, while the block runs."""
    handlers = [h for h in logging.getLogger("dnas").handlers if type(h) is logging.StreamHandler]
    before = [handler.setStream(_Above(console)) for handler in handlers]
    try:
        yield
    finally:
        for handler, old in zip(handlers, before, strict=True):
            if old is not None:
                handler.setStream(old)
