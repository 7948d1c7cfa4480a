"""Progress of long work: a bar on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

logger = logging.getLogger(__name__)


class Progress:
    """Counts steps towards a total.

    Args:
        title: What is going on.
        total: Steps in all.
        done: Steps already done, by a run that is resumed.
        every_s: Seconds between plain lines.
    """

    def __init__(self, title: str, total: int, done: int = 0, *, every_s: float = 30.0) -> None:
        self.title = title
        self.total = total
        self.done = done
        self.every_s = every_s
        self._first = done
        self._started = self._said = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from rich.console import Console

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.title, total=self.total, completed=self.done, note=""
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """One step more."""
        self.done += 1

    def note(self, **values: Any) -> None:
        """Show the latest values; called once a log interval, not every step."""
        text = " ".join(
            f"{name} {value:.5f}" if isinstance(value, float) else f"{name} {value}"
            for name, value in values.items()
            if value is not None
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=text)
            return
        now = time.monotonic()
        if now - self._said >= self.every_s or self.done >= self.total:
            self._said = now
            rate = (self.done - self._first) / max(now - self._started, 1e-9)
            left = (self.total - self.done) / rate if rate > 0 else float("nan")
            logger.info(
                "%s: step %d/%d, %.1f steps/s, %.0f s left, %s",
                self.title,
                self.done,
                self.total,
                rate,
                left,
                text,
            )
