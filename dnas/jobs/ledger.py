"""Where every job of a session stands, and what is written down when that changes."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable

from dnas.jobs.job import KINDS, Job, State
from dnas.jobs.outcome import Outcome, one_line
from dnas.jobs.progress import Progress
from dnas.jobs.retries import Retries, decide
from dnas.jobs.slots import SlotPool
from dnas.jobs.store import JobStore
from dnas.jobs.strikes import Strikes
from dnas.jobs.verdict import Verdict
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)


class Ledger:
    """The jobs of one session: their queues, their states, and the record of both on disk.

    Args:
        run: The run folder; its jobs are read. To be made under its lock.
        experiment_id: The experiment's id, for the status file.
        slots: The devices, for the status file.
        retries: How often a job is tried again.
        max_same_failures: See :class:`Strikes`.
        show: For a live view, see :class:`Progress`.
    """

    def __init__(
        self,
        run: RunFolder,
        experiment_id: str,
        slots: SlotPool,
        retries: Retries,
        max_same_failures: int,
        show: Callable[[dict[str, object]], None] | None = None,
    ) -> None:
        self.run = run
        self.host = socket.gethostname()
        self.store = JobStore(run)
        self.progress = Progress(run, experiment_id, os.getpid(), self.host, slots, show)
        self.jobs: dict[str, Job] = {}
        """Identity -> job of this session, in the order in which they were added."""
        self.queues: dict[str, deque[Job]] = {kind: deque() for kind in KINDS}
        self.stopped = ""
        """Why nothing more is started; empty if it is."""
        self._by_id: dict[tuple[str, str], Job] = {}
        self._retries = retries
        self._strikes = Strikes(max_same_failures)

    # ---- jobs ---------------------------------------------------------------------------------

    def know(self, job: Job) -> None:
        """Take a job into the session, in whatever state it is."""
        self.jobs[job.spec.identity] = job
        self._by_id[job.kind, job.id] = job
        self.progress.changed(job)

    def named(self, kind: str, job_id: str) -> Job | None:
        """The job of that id: of this session, or another one that the run folder holds."""
        found = self._by_id.get((kind, job_id))
        return found or next((j for j in self.store if (j.kind, j.id) == (kind, job_id)), None)

    def num_queued(self) -> int:
        """How many jobs wait in the queues."""
        return sum(len(queue) for queue in self.queues.values())

    # ---- changes ------------------------------------------------------------------------------

    def change(self, job: Job, state: State, reason: str) -> None:
        """Put a job into a state, on disk and as an event."""
        job.state, job.reason = state, reason
        self.store.save(job)
        self.event(job, state, reason)

    def event(self, job: Job | None, state: str, reason: str) -> None:
        """Write an event; ``job`` is None for the run itself."""
        if job is not None and job.spec.identity in self.jobs:
            self.progress.changed(job)
        self.store.event(job, str(state), reason, pid=os.getpid(), host=self.host)

    def enqueue(self, job: Job, reason: str) -> None:
        """To the back of its queue, for another attempt."""
        self.change(job, State.QUEUED, reason)
        self.queues[job.kind].append(job)
        logger.warning("%s %s: queued again: %s", job.kind, job.id, one_line(reason))

    def put_back(self, job: Job, reason: str) -> None:
        """To the front of its queue: it was not started, for a reason that is not its own."""
        self.change(job, State.QUEUED, reason)
        self.queues[job.kind].appendleft(job)

    def end(self, job: Job, state: State, reason: str) -> None:
        """Put a job into its last state."""
        self.change(job, state, reason)
        self.progress.ended(job)

    def succeeded(self, job: Job) -> None:
        """A job has a whole result, now or since an earlier session."""
        self._strikes.success()
        if job.state is not State.SUCCEEDED:
            self.end(job, State.SUCCEEDED, "")

    def decide(self, job: Job, verdict: Verdict) -> None:
        """Give a job that did not succeed another attempt, or its last state."""
        decision = decide(verdict, self._retries, job.retries)
        name = verdict.ending.value
        if decision.again:
            job.retries[name] = job.retries.get(name, 0) + 1
            self.event(job, name, verdict.reason)
            self.enqueue(job, decision.reason)
            return
        self.end(job, decision.state, decision.reason)
        if self._strikes.failure(verdict) and not self.stopped:
            self.stopped = (
                f"{self._strikes.count} jobs in a row failed for the same reason, so no more are "
                f"started and {self.num_queued()} stay queued: {one_line(verdict.reason)}. Mend "
                f"the cause, then dnas retry {self.run.path} --failed, and start the same command "
                "again: it goes on from here"
            )
            logger.error("%s", self.stopped)

    # ---- on request ---------------------------------------------------------------------------

    def cancel_queued(self, job: Job, reason: str) -> None:
        """Take a job out of its queue; one that is not in this session is not in any."""
        if job.spec.identity in self.jobs:
            self.queues[job.kind].remove(job)
        self.end(job, State.CANCELLED, reason)

    def ask_again(self, job: Job) -> None:
        """Queue a job again that ended without a result, with all its retries."""
        if not job.state.ended or job.state is State.SUCCEEDED:
            return
        job.retries, job.cancel_reason = {}, ""
        reason = f"asked for again; before: {job.state}"
        if job.spec.identity not in self.jobs:
            self.change(job, State.QUEUED, reason)  # for the session that has its config
            return
        self.enqueue(job, reason)
        # Whoever asks has mended the cause.
        self._strikes.success()
        self.stopped = ""

    # ---- the end ------------------------------------------------------------------------------

    def outcome(self, signals: list[int]) -> Outcome:
        """How the session ended.

        Args:
            signals: Those that the manager got.
        """
        failures = self.progress.failures()
        if signals:
            state, code = "interrupted", 128 + signals[0]
        elif failures or self.stopped or any(not job.state.ended for job in self.jobs.values()):
            state, code = "failed", 1
        else:
            state, code = "finished", 0
        counts = self.progress.counts()
        return Outcome(state, code, self.run.path, counts, failures, self.stopped)
