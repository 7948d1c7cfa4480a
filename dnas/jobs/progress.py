"""What people see while jobs run: a log line for each start and end, and ``status.json``."""

from __future__ import annotations

import logging
import statistics
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from dnas.files import write_json
from dnas.jobs.executors.base import Handle
from dnas.jobs.job import KINDS, Job, State
from dnas.jobs.outcome import Failure, duration, one_line
from dnas.jobs.slots import SlotPool
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

_STATUS_INTERVAL_S = 0.5
_MOST_FAILURES_SHOWN = 50
#: Ends that the time left is estimated from.
_RECENT = 100


class Progress:
    """Log lines and the status file of one session.

    Args:
        run: The run folder.
        experiment_id: The experiment's id.
        pid: The manager's.
        host: The manager's.
        slots: The devices.
        show: Called with every content of the status file; for a live view.
    """

    def __init__(
        self,
        run: RunFolder,
        experiment_id: str,
        pid: int,
        host: str,
        slots: SlotPool,
        show: Callable[[dict[str, object]], None] | None = None,
    ) -> None:
        self._run = run
        self._who = {"pid": pid, "host": host}
        self._experiment_id = experiment_id
        self._slots = slots
        self._show = show
        self._begun_s = time.monotonic()
        self._written_s = -_STATUS_INTERVAL_S
        self._stale = True
        self._seconds: dict[str, deque[float]] = {kind: deque(maxlen=_RECENT) for kind in KINDS}
        # Kept by difference: counting thousands of jobs for each line would cost more than they do.
        self._states: dict[Job, State] = {}
        self._tally: dict[str, Counter[State]] = {kind: Counter() for kind in KINDS}
        self._since: dict[Job, float] = {}  # running job -> when it was first seen so (monotonic)
        self._failed: dict[Job, None] = {}  # in the order in which they failed

    def changed(self, job: Job) -> None:
        """Note a job's state, old or new; the status file is out of date."""
        self._stale = True
        before, tally = self._states.get(job), self._tally[job.kind]
        if before is not None:
            tally[before] -= 1
        tally[job.state] += 1
        self._states[job] = job.state
        if job.state is State.RUNNING:
            self._since.setdefault(job, time.monotonic())
        else:
            self._since.pop(job, None)
        if job.state.failed:
            self._failed[job] = None
        else:
            self._failed.pop(job, None)

    def opening(self, queued: Mapping[str, int]) -> None:
        """Log what a session starts with: placement, and what is kept of earlier sessions.

        Args:
            queued: Kind -> number of queued jobs.
        """
        counts = self.counts()
        for kind, states in counts.items():
            kept = {s: n for s, n in states.items() if State(s).ended}
            if kept:
                shown = ", ".join(f"{number} {state}" for state, number in kept.items())
                logger.info("%s jobs that have ended before and are kept: %s", kind, shown)
        if self._failed:
            logger.info("to run again those that failed: dnas retry %s --failed", self._run.path)
        for kind in KINDS:
            if queued.get(kind):
                slots = self._slots.of(kind)
                shown = ", ".join(device.name for device in slots.devices)
                several = f" {slots.devices_per_job} each," if slots.devices_per_job > 1 else ""
                logger.info(
                    "%d %s jobs on %s,%s %d at a time",
                    queued[kind],
                    kind,
                    shown,
                    several,
                    slots.num_jobs,
                )

    def started(self, job: Job) -> None:
        """Log the start of a job."""
        again = f", attempt {job.attempts}" if job.attempts > 1 else ""
        logger.info(
            "%s %s %s: started on %s%s", self._summary(), job.kind, job.id, job.place, again
        )

    def ended(self, job: Job) -> None:
        """Log the end of a job."""
        if job.state is State.SUCCEEDED:
            took = ""
            if job.seconds is not None:
                self._seconds[job.kind].append(job.seconds)
                took = f" in {duration(job.seconds)}"
            logger.info(
                "%s %s %s: succeeded%s on %s; %s",
                self._summary(), job.kind, job.id, took, job.place, self._times(),
            )  # fmt: skip
        elif job.state is State.CANCELLED:
            logger.info("%s %s %s: %s", self._summary(), job.kind, job.id, job.reason)
        else:
            logger.error(
                "%s %s %s: %s: %s (log: %s)",
                self._summary(), job.kind, job.id, job.state, one_line(job.reason), job.folder.log,
            )  # fmt: skip

    def counts(self) -> dict[str, dict[str, int]]:
        """Kind -> state -> number of jobs, in the order of kinds and states."""
        found = {
            kind: {str(state): tally[state] for state in State if tally[state]}
            for kind, tally in self._tally.items()
        }
        return {kind: states for kind, states in found.items() if states}

    def failures(self) -> tuple[Failure, ...]:
        """The jobs that ended without a result, and nobody wanted that."""
        return tuple(
            Failure(job.kind, job.id, str(job.state), job.reason, job.folder.log)
            for job in self._failed
        )

    def write_status(
        self,
        state: str,
        reason: str,
        running: Mapping[Handle, Job],
        waiting: Mapping[str, int] | None = None,
    ) -> None:
        """Write ``status.json``: the end at once, changes before it at most twice a second.

        Args:
            state: Of the run: ``running``, ``finished``, ``failed`` or ``interrupted``.
            reason: Why launching stopped, or empty.
            running: The jobs that run or wait in their engine.
            waiting: Why jobs wait -> how many.
        """
        now = time.monotonic()
        too_early = now - self._written_s < _STATUS_INTERVAL_S
        if state == "running" and (too_early or (not self._stale and self._show is None)):
            return
        stale, self._written_s, self._stale = self._stale, now, False
        content = {
            "experiment_id": self._experiment_id,
            **self._content(state, reason, running, waiting or {}),
            **self._who,
            "seconds": now - self._begun_s,
            "updated": time.time(),
        }
        if stale or state != "running":
            try:
                write_json(self._run.status, content, durable=False)
            except OSError as error:
                self._stale = True
                logger.debug("%s cannot be written: %s", self._run.status, error)
        if self._show is not None:
            self._show(content)

    def _content(
        self, state: str, reason: str, running: Mapping[Handle, Job], waiting: Mapping[str, int]
    ) -> dict[str, object]:
        counts = self.counts()
        busy = (str(State.QUEUED), str(State.RUNNING))
        unfinished = [kind for kind in KINDS if any(s in busy for s in counts.get(kind, {}))]
        failed = list(self._failed)[:_MOST_FAILURES_SHOWN]
        return {
            "state": state,
            "stage": unfinished[0] if unfinished else "done",
            "reason": reason,
            "jobs": counts,
            "running": [
                {
                    "kind": job.kind,
                    "job": job.id,
                    "slot": list(job.slot),
                    "attempt": job.attempts,
                    "started": job.started,
                    "waits_for": "" if handle.started else handle.waits_for or "its engine",
                }
                for handle, job in running.items()
            ],
            "slots": [
                {"slot": device.name, "load": float(self._slots.load(device))}
                for device in self._slots.devices
            ],
            "waiting": [{"for": why, "jobs": number} for why, number in waiting.items()],
            "seconds_left": self._seconds_left(),
            "failures": [
                {
                    "kind": job.kind,
                    "job": job.id,
                    "state": str(job.state),
                    "reason": job.reason,
                    "log": str(job.folder.log),
                }
                for job in failed
            ],
            "num_failures": len(self._failed),
        }

    def _summary(self) -> str:
        running = sum(tally[State.RUNNING] for tally in self._tally.values())
        queued = sum(tally[State.QUEUED] for tally in self._tally.values())
        ended = len(self._states) - running - queued
        return f"[{ended}/{len(self._states)} ended, {running} running]"

    def _seconds_left(self) -> float | None:
        """Until all known jobs have ended, from those that succeeded; None if none has yet."""
        left = 0.0
        for kind, tally in self._tally.items():
            queued, running = tally[State.QUEUED], tally[State.RUNNING]
            if not queued and not running:
                continue
            known = self._seconds[kind] or [s for seen in self._seconds.values() for s in seen]
            if not known:
                return None
            mean, now = statistics.fmean(known), time.monotonic()
            ages = [now - since for job, since in self._since.items() if job.kind == kind]
            # One that has run longer than usual is likely to go on for a good while.
            rests = [max(mean - age, age / 2) for age in ages]
            work = (queued * mean + sum(rests)) / self._slots.of(kind).num_jobs
            left += max([work, *rests])
        return left

    def _times(self) -> str:
        so_far = f"{duration(time.monotonic() - self._begun_s)} so far"
        left = self._seconds_left()
        return f"{so_far}, about {duration(left)} left" if left else so_far
