"""What the manager asks of a backend that runs jobs.

To add one (a cluster, say), subclass :class:`Executor`. The life of a job: the manager calls
``start`` (or ``adopt`` for a job that an earlier manager had started), then ``wait`` again and
again until the handle is among those that ended, then reads ``handle.exit_code``. ``send`` may
come at any time between. All calls come from one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command to run."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    log: Path
    """Standard output and error are appended to it."""
    folder: Path
    """The job's folder, for backends that keep files of their own."""


@dataclass(eq=False)
class Handle:
    """A job that was started; compared by identity."""

    pid: int | None
    mark: str | None = None
    """What tells this process from a later one with the same pid."""
    exit_code: int | None = None
    """Set when it ended: negative for a signal, None if it cannot be known."""


class Executor(ABC):
    """Runs commands, each with its own environment and log."""

    @abstractmethod
    def start(self, order: Order) -> Handle:
        """Start a command and return at once.

        Raises:
            OSError: It cannot be started; nothing was started.
        """

    @abstractmethod
    def adopt(self, pid: int, mark: str) -> Handle | None:
        """Take over a job that another manager started; None if it is no longer alive."""

    @abstractmethod
    def wait(self, timeout_s: float) -> list[Handle]:
        """Return the handles that ended, as soon as there is one, or none after ``timeout_s``."""

    @abstractmethod
    def send(self, handle: Handle, signal_number: int) -> None:
        """Send a signal to all processes of a job; no effect if it has ended."""
