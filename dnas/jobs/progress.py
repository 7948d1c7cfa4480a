"""What people see while jobs run: a log line for each start and end, and ``status.json``."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from dnas.files import write_json
from dnas.jobs.job import KINDS, Job, State
from dnas.jobs.outcome import count_states, duration, failures_of, one_line
from dnas.runs import RunFolder

_STATUS_INTERVAL_S = 0.5
_MOST_FAILURES_SHOWN = 50


class Progress:
    """Log lines and the status file of one session.

    Args:
        run: The run folder.
        experiment_id: The experiment's id.
        pid: The manager's.
        host: The manager's.
        logger: Where lines go.
    """

    def __init__(
        self, run: RunFolder, experiment_id: str, pid: int, host: str, logger: logging.Logger
    ) -> None:
        self._run = run
        self._who = {"pid": pid, "host": host}
        self._experiment_id = experiment_id
        self._logger = logger
        self._begun_s = time.monotonic()
        self._written_s = -_STATUS_INTERVAL_S
        self._stale = True
        self._seconds_of_ended: list[float] = []
        # Kept by difference: counting thousands of jobs for each line would cost more than they do.
        self._states: dict[Path, State] = {}
        self._tally: Counter[State | None] = Counter()

    def changed(self, job: Job | None) -> None:
        """Note a job's state, old or new; the status file is out of date."""
        self._stale = True
        if job is not None:
            self._tally[self._states.get(job.folder.path)] -= 1
            self._tally[job.state] += 1
            self._states[job.folder.path] = job.state

    def started(self, job: Job) -> None:
        """Log the start of a job."""
        again = f", attempt {job.attempts}" if job.attempts > 1 else ""
        self._logger.info(
            "%s %s %s: started on %s%s", self._counts(), job.kind, job.id, job.device, again
        )

    def ended(self, job: Job, waiting_per_slot: Iterable[float]) -> None:
        """Log the end of a job.

        Args:
            job: The job.
            waiting_per_slot: For each kind, queued jobs divided by slots, for the time left.
        """
        seconds = (job.ended or 0) - (job.started or 0)
        if job.started is not None and job.exit_code is not None:
            self._seconds_of_ended.append(seconds)
        if job.state is State.SUCCEEDED:
            self._logger.info(
                "%s %s %s: succeeded in %s on %s; %s",
                self._counts(), job.kind, job.id, duration(seconds), job.device,
                self._times(sum(waiting_per_slot)),
            )  # fmt: skip
        else:
            self._logger.error(
                "%s %s %s: %s: %s (log: %s)",
                self._counts(), job.kind, job.id, job.state, one_line(job.reason), job.folder.log,
            )  # fmt: skip

    def write_status(self, state: str, reason: str, jobs: Collection[Job]) -> None:
        """Write ``status.json``: the end at once, changes before it at most twice a second."""
        now = time.monotonic()
        too_early = now - self._written_s < _STATUS_INTERVAL_S
        if state == "running" and (too_early or not self._stale):
            return
        self._written_s, self._stale = now, False
        content = status_content(state, reason, jobs)
        times = {"seconds": now - self._begun_s, "updated": time.time()}
        write_json(
            self._run.status,
            {"experiment_id": self._experiment_id, **content, **self._who, **times},
        )

    def _counts(self) -> str:
        running = self._tally[State.RUNNING]
        ended = len(self._states) - running - self._tally[State.QUEUED]
        return f"[{ended}/{len(self._states)} ended, {running} running]"

    def _times(self, waiting_per_slot: float) -> str:
        so_far = f"{duration(time.monotonic() - self._begun_s)} so far"
        if not self._seconds_of_ended or waiting_per_slot == 0:
            return so_far
        mean = sum(self._seconds_of_ended) / len(self._seconds_of_ended)
        return f"{so_far}, about {duration(mean * (1 + waiting_per_slot))} left"


def status_content(state: str, reason: str, jobs: Collection[Job]) -> Mapping[str, object]:
    """The part of a run's ``status.json`` that follows from its jobs.

    Args:
        state: Of the run: ``running``, ``finished``, ``failed`` or ``interrupted``.
        reason: Why launching stopped, or empty.
        jobs: All jobs of this session.
    """
    counts = count_states(jobs)
    busy = (str(State.QUEUED), str(State.RUNNING))
    unfinished = [kind for kind in KINDS if any(s in busy for s in counts.get(kind, {}))]
    failures = failures_of(jobs)
    return {
        "state": state,
        "stage": unfinished[0] if unfinished else "done",
        "reason": reason,
        "jobs": counts,
        "running": [
            {"kind": job.kind, "job": job.id, "slot": job.device, "started": job.started}
            for job in jobs
            if job.state is State.RUNNING
        ],
        "failures": [
            {
                "kind": failure.kind,
                "job": failure.job,
                "state": failure.state,
                "reason": failure.reason,
                "log": str(failure.log),
            }
            for failure in failures[:_MOST_FAILURES_SHOWN]
        ],
        "num_failures": len(failures),
    }
