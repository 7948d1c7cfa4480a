"""Progress of long work: a bar on a terminal, plain log lines elsewhere, a file for the manager."""

from __future__ import annotations

import contextlib
import logging
import math
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from dnas.files import write_json

logger = logging.getLogger(__name__)

#: Seconds between two writings of the progress file.
_WRITE_S = 1.0


class Progress:
    """Counts steps towards a total.

    The file says, as JSON, ``step`` of ``total_steps``, the ``phase``, the ``epoch`` (with
    its fraction), the latest ``metric`` (name -> value) and the ``time``. It is written
    by time with numbers that are on the host anyway: no step waits for the device on its account.

    Args:
        title: What is going on.
        total: Steps in all.
        done: Steps already done, by a run that is resumed.
        every_s: Seconds between plain lines.
        file: Where to write it for others, at most once a second.
        quiet: Show nothing.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        *,
        every_s: float = 30.0,
        file: Path | None = None,
        quiet: bool = False,
    ) -> None:
        self.title = title
        self.total = total
        self.done = done
        self.every_s = every_s
        self._first = done
        self._started = self._said = time.monotonic()
        self._bar: Bar | None = None
        self._file = file
        self._quiet = quiet
        self._written = float("-inf")
        self._phase, self._epoch = "", 0.0
        self._metric: dict[str, float] = {}

    def __enter__(self) -> Progress:
        if sys.stderr.isatty() and not self._quiet:
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
        if self._phase:  # else nothing has been done
            self._write()

    def advance(self, phase: str, epoch: float) -> None:
        """One step more, of ``phase``, after which ``epoch`` epochs are done."""
        self.done += 1
        self._phase, self._epoch = phase, epoch
        if time.monotonic() - self._written >= _WRITE_S:
            self._write()

    def metric(self, name: str, value: float | None) -> None:
        """The latest loss, or metric of a validation."""
        if value is not None and math.isfinite(value):
            self._metric = {name: value}

    def _write(self) -> None:
        if self._file is None:
            return
        self._written = time.monotonic()
        # News for a live view; a full disk must not end the job on their account.
        with contextlib.suppress(OSError):
            write_json(
                self._file,
                {
                    "step": self.done,
                    "total_steps": self.total,
                    "phase": self._phase,
                    "epoch": round(self._epoch, 6),
                    "metric": self._metric,
                    "time": time.time(),
                },
                durable=False,
            )

    def note(self, **values: Any) -> None:
        """Show the latest values; called once a log interval, not every step."""
        if self._quiet:
            return
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
