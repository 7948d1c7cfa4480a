"""Signals to the manager are noted, not acted upon at once: only the loop changes anything."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def noting(signals: list[int]) -> Iterator[None]:
    """Append SIGINT, SIGTERM and SIGHUP to ``signals`` as they come, while the block runs.

    Has no effect outside the main thread, where Python allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        signals.append(number)

    before: dict[int, Any] = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and a shell's background job SIGINT: leave that.
        if signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, note)
    try:
        yield
    finally:
        for noted, handler in before.items():
            signal.signal(noted, handler)
