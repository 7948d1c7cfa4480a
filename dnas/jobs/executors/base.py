"""What the manager asks of an engine that runs jobs, and what every engine gets for nothing.

Every engine, on whatever host, starts one program: the supervisor
(:func:`dnas.jobs.supervisor.supervisor_command`). The supervisor claims the attempt, runs the job,
beats, and writes into the job's folder how it ended. So an engine only has to get a supervisor
started somewhere, to say when it is gone, and to pass on the wish that it stops. A new engine is
one file with one subclass of :class:`Executor`; ``tests/jobs/test_jobs_executor_contract.py`` is
the suite that it must pass.

The life of an attempt: the manager writes ``order.json``, calls ``submit`` (or ``adopt`` for an
attempt that an earlier manager had submitted), then ``poll`` again and again until the handle is
among those that ended, then reads the attempt's file. ``cancel`` may come at any time between. All
calls come from one thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dnas.files import write_json
from dnas.runs import JobFolder


@dataclass(frozen=True, kw_only=True)
class Order:
    """A command to run, as ``order.json`` has it for the supervisor."""

    argv: tuple[str, ...]
    variables: Mapping[str, str]
    """Environment variables to set on top of those that the supervisor finds."""
    cwd: str
    attempt: int
    place: str = ""
    """Device as the manager names it, for the log."""
    num_gpus: float = 0.0
    """GPUs that the job needs: a fraction where jobs share one. For engines that choose devices."""
    num_cpus: int = 1
    """Threads that the job may use."""
    timeout_s: float | None = None
    stop_grace_s: float = 120.0
    """Seconds between asking the job to stop and killing it."""
    heartbeat_s: float = 10.0
    only_sigterm: bool = False
    """Whether every request to stop reaches the job as SIGTERM: torchrun dies of SIGUSR1."""

    def write(self, folder: JobFolder) -> None:
        """Put it where the supervisor reads it."""
        # Not forced to the disk: who reads it lives no longer than this host's memory.
        order = {**asdict(self), "variables": dict(self.variables)}
        write_json(folder.order, order, durable=False)


@dataclass(eq=False)
class Handle:
    """An attempt that an engine has been given; compared by identity."""

    folder: JobFolder
    attempt: int
    token: dict[str, Any] = field(default_factory=dict)
    """How another manager finds it again, as JSON; saved in the job's ``status.json``."""
    started: bool = True
    """False while the engine keeps it waiting."""
    waits_for: str = ""
    """Why it has not started, in the engine's words."""
    pid: int | None = None
    """Of the supervisor, where it is a process of this host."""
    ending: str = ""
    """The engine's own word on the end, for a job whose supervisor left none: one of ``""`` (it
    does not know), ``cancelled``, ``out_of_memory``, ``timed_out``, ``lost``."""
    ending_reason: str = ""


class Executor(ABC):
    """Gets supervisors started, each for one attempt of one job."""

    name: str
    """As ``--executor`` and the tokens in ``status.json`` have it."""
    places_jobs: bool = False
    """Whether the engine chooses host and device; if not, the manager does, from ``GPU_IDS``."""

    @abstractmethod
    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        """Have attempts started and return at once, a handle for each order, in order.

        A job that cannot be *started* (no such program) is no error here: its supervisor says so.

        Raises:
            OSError: The engine took none of them, e.g. because it cannot be reached; it may be
                asked again later.
            ConfigError: It never will take them, because of a setting.
        """

    @abstractmethod
    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        """Take over an attempt that another manager submitted; None if the engine has it no more.

        Args:
            folder: The job's.
            attempt: Its number.
            token: As that manager saved it; empty if it was killed before it could.
        """

    @abstractmethod
    def poll(self, timeout_s: float) -> list[Handle]:
        """Return the handles that ended, as soon as there is one, or none after ``timeout_s``.

        Also brings ``started`` and ``waits_for`` of the others up to date.
        """

    @abstractmethod
    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        """Ask a job to stop (it may save a checkpoint), or kill it. No effect if it has ended."""

    def clear(self, folder: JobFolder, attempt: int, record: Mapping[str, Any]) -> None:  # noqa: B027
        """Kill what a supervisor that died without a word may have left on this host."""

    def close(self) -> None:  # noqa: B027
        """Give back what the executor itself holds; jobs go on."""


def ask_by_file(folder: JobFolder, attempt: int, *, kill: bool, grace_s: float) -> None:
    """Ask a supervisor that no signal reaches to end its job; it looks every second."""
    write_json(
        Path(folder.stop), {"attempt": attempt, "kill": kill, "grace_s": grace_s}, durable=False
    )
