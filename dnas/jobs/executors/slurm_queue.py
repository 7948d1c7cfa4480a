"""What Slurm says of this user's jobs, by its own commands and without its accounting.

One ``squeue`` answers for all jobs, in the background, so that a controller that takes its time
does not hold up the manager; an answer that does not come says nothing about any job.
"""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from typing import IO, Literal

logger = logging.getLogger(__name__)

#: States in which a job waits for its turn, for the first time or once more.
WAITING = frozenset(
    {
        "CONFIGURING",
        "PENDING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
    }
)
#: States in which a job is over, each as the ending of a handle.
ENDINGS: dict[str, Literal["", "cancelled", "lost", "out_of_memory", "timed_out"]] = {
    "BOOT_FAIL": "lost",
    "CANCELLED": "cancelled",
    "COMPLETED": "",
    "DEADLINE": "timed_out",
    "FAILED": "",
    "NODE_FAIL": "lost",
    "OUT_OF_MEMORY": "out_of_memory",
    "PREEMPTED": "lost",
    "REVOKED": "lost",
    "TIMEOUT": "timed_out",
}

#: Seconds between two questions: soon after something was done, then more and more seldom.
_FIRST_INTERVAL_S = 1.0
_LAST_INTERVAL_S = 30.0
_GROWTH = 1.5
#: How long a command may take.
_PATIENCE_S = 60.0
#: Ids in one ``scancel``, what it says of jobs that have ended, and when to try again otherwise.
_MAX_IDS = 500
_HAS_ENDED = re.compile("invalid job id|already complet", re.IGNORECASE)
_RETRY_S = 5.0


@dataclass(frozen=True)
class Row:
    """One job, or one task of an array."""

    state: str
    reason: str
    name: str

    @property
    def is_over(self) -> bool:
        """Whether the job has ended and will not be started again by Slurm itself."""
        return self.state in ENDINGS


class SlurmQueue:
    """Asks ``squeue``, and passes wishes on to ``scancel``; neither call waits."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        """Jobs by their id, ``123`` or ``123_4``, as of the last answer. Slurm shows a job that has
        ended for some minutes (``MinJobAge``)."""
        self.asked_s = -math.inf
        """When the question was asked to which ``rows`` is the answer, monotonic."""
        self._squeue: tuple[_Command, float] | None = None
        self._interval_s = _FIRST_INTERVAL_S
        self._due_s = -math.inf
        self._failed_s = -math.inf
        self._wishes: dict[bool, list[str]] = {False: [], True: []}
        self._scancel: tuple[_Command, bool, list[str]] | None = None
        self._scancel_due_s = -math.inf

    def hurry(self) -> None:
        """Something has changed, or may have: ask soon, and often for a while."""
        self._interval_s = _FIRST_INTERVAL_S
        self._due_s = min(self._due_s, time.monotonic() + _FIRST_INTERVAL_S / 2)

    def cancel(self, slurm_id: str, *, only_waiting: bool) -> None:
        """Have a job cancelled, by the next :meth:`work`; ``only_waiting``: unless it runs."""
        self._wishes[only_waiting].append(slurm_id)
        self.hurry()

    def work(self) -> bool:
        """Take in answers and ask what is due; True if ``rows`` is new."""
        self._work_on_wishes()
        now = time.monotonic()
        if self._squeue is None:
            if now >= self._due_s:
                # By user and not by job: to some versions one unknown id in a list is an error.
                user = f"--user={os.getuid()}"
                words = ["--states=all", "--array", "--noheader", user, "--format=%i|%T|%r|%j"]
                self._squeue = _Command("squeue", *words), now
            return False
        command, asked_s = self._squeue
        if not command.is_done():
            return False
        self._squeue = None
        self._interval_s = min(self._interval_s * _GROWTH, _LAST_INTERVAL_S)
        self._due_s = now + self._interval_s
        was_silent = self._failed_s > self.asked_s
        if command.code != 0:
            if not was_silent:
                logger.warning("Slurm does not answer; going on without: %s", command.complaint())
            self._failed_s = now
            return False
        if was_silent and self._failed_s > -math.inf:
            logger.info("Slurm answers again")
        self.rows, self.asked_s = _read(command.output()), asked_s
        return True

    def ask(self, patience_s: float) -> bool:
        """Ask now and wait for the answer; False if none comes."""
        begun = time.monotonic()
        while self.asked_s < begun:
            if self._failed_s >= begun or time.monotonic() - begun >= patience_s:
                return False
            if self._squeue is None:
                self._due_s = begun
            self.work()
            time.sleep(0.01)
        return True

    def close(self) -> None:
        """Pass on the last wishes; their commands need nobody."""
        for only_waiting, ids in self._wishes.items():
            while ids:
                self._start_scancel(only_waiting)
        if self._squeue is not None:
            self._squeue[0].stop()
            self._squeue = None

    def _work_on_wishes(self) -> None:
        if self._scancel is not None:
            command, only_waiting, ids = self._scancel
            if not command.is_done():
                return
            self._scancel = None
            if command.code != 0 and not _HAS_ENDED.search(command.complaint()):
                logger.warning("scancel: %s; trying again", command.complaint())
                self._wishes[only_waiting] += ids
                self._scancel_due_s = time.monotonic() + _RETRY_S
        if time.monotonic() < self._scancel_due_s:
            return
        for only_waiting, ids in self._wishes.items():
            if ids and self._scancel is None:
                self._start_scancel(only_waiting)

    def _start_scancel(self, only_waiting: bool) -> None:
        ids = self._wishes[only_waiting]
        some, ids[:] = ids[:_MAX_IDS], ids[_MAX_IDS:]
        only = ["--state=PENDING"] if only_waiting else []
        self._scancel = _Command("scancel", *only, *some), only_waiting, some


def _read(output: str) -> dict[str, Row]:
    rows = {}
    for line in output.splitlines():
        words = line.split("|", 3)
        if len(words) == 4:
            slurm_id, state, reason, name = (word.strip() for word in words)
            rows[slurm_id] = Row(state, "" if reason == "None" else reason, name)
    return rows


class _Command:
    """A command that runs in the background, and not for ever."""

    def __init__(self, *words: str) -> None:
        # Files, and not pipes, which fill up while nobody reads.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        # A user's habits (SQUEUE_PARTITION=...) are for the user's eyes.
        habits = ("SQUEUE_", "SCANCEL_")
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._errors,
            env={name: v for name, v in os.environ.items() if not name.startswith(habits)},
            start_new_session=True,  # Ctrl-C is for the manager
        )
        self._deadline_s = time.monotonic() + _PATIENCE_S

    @property
    def code(self) -> int | None:
        return self._process.returncode

    def is_done(self) -> bool:
        if self._process.poll() is None and time.monotonic() >= self._deadline_s:
            self.stop()
        return self._process.poll() is not None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def output(self) -> str:
        return _content(self._output)

    def complaint(self) -> str:
        return " ".join(_content(self._errors).split()) or f"exit code {self.code}"


def _content(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
