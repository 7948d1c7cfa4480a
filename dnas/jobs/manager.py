"""The job queue: keeps every device busy until every job has ended, however it ends.

Every change is on disk before the next step, and every attempt at a job is claimed by exactly one
supervisor (:mod:`dnas.jobs.attempt`). So a manager that is killed at any point can be started
again: jobs that ended are kept, jobs that run are adopted, and nothing runs twice. What the end of
an attempt was is read by :mod:`dnas.jobs.verdict`, what follows from it is decided by
:mod:`dnas.jobs.retries`. No sleep decides anything: the manager is woken by the end of a job, and
looks up in between only for what comes as files.
"""

from __future__ import annotations

import logging
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Self

from dnas.errors import DnasError, JobError
from dnas.jobs.answering import Answers
from dnas.jobs.attempt import ENDED, read_attempt
from dnas.jobs.executors import Executor, Handle, LocalExecutor
from dnas.jobs.executors.watch import Watcher
from dnas.jobs.job import Job, JobSpec, State
from dnas.jobs.launcher import Launcher
from dnas.jobs.ledger import Ledger
from dnas.jobs.lock import RunLock
from dnas.jobs.outcome import Outcome
from dnas.jobs.placing import place
from dnas.jobs.policy import Policy
from dnas.jobs.recovery import find_again
from dnas.jobs.running import Running
from dnas.jobs.signals import noting
from dnas.jobs.slots import SlotPool
from dnas.jobs.store import remove_temporary_files
from dnas.jobs.verdict import Ending, Evidence, Verdict, judge, read_result
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

#: Longest wait before requests, signals and the status file are looked after.
_TICK_S = 0.5
#: New jobs that are taken in before devices are looked after again.
_MOST_TAKEN_IN = 200
#: How long to wait for supervisors after they were told to kill their jobs.
_KILL_WAIT_S = 10.0


class Manager:
    """Runs jobs of one run folder.

    ::

        with Manager(run, SlotPool({"supernet": Slots(devices=devices(["0", "1"]))})) as manager:
            manager.add(expand(load_config("configs/my_search")))
            outcome = manager.run()

    Entering takes the run folder's lock and reads the jobs that are there; ``run`` enters by itself
    if that has not been done.

    Args:
        run: The run folder; its name is the experiment's id unless given.
        slots: Devices for each kind of job.
        executor: What runs the jobs; default processes of this machine.
        on_finished: Called with every job that succeeded, those of earlier sessions first; returns
            jobs to add. A :class:`DnasError` that it raises makes that job a failed one.
        on_all_ended: Called when every job has ended and nothing may change that any more; returns
            jobs to add, of which those that the session has already are no news. It is called again
            after these, until nothing new comes. A :class:`DnasError` that it raises ends the run
            as failed, for that reason; after an ``OSError`` it is asked again.
        experiment_id: What ``EXPERIMENT_ID`` becomes, default the run folder's name.
        policy: Retries, limits and times.
        show: Called with the run's status whenever it may have changed, and twice a second at most;
            for a live view.
    """

    def __init__(
        self,
        run: RunFolder,
        slots: SlotPool,
        *,
        executor: Executor | None = None,
        on_finished: Callable[[Job], Iterable[JobSpec]] | None = None,
        on_all_ended: Callable[[], Iterable[JobSpec]] | None = None,
        experiment_id: str | None = None,
        policy: Policy | None = None,
        show: Callable[[dict[str, object]], None] | None = None,
    ) -> None:
        self.folder = run
        self._slots = slots
        self._policy = Policy() if policy is None else policy
        self._executor = LocalExecutor() if executor is None else executor
        self._watcher = Watcher(self._policy.lost_after_s, self._policy.stop_grace_s)
        self._on_finished = on_finished
        self._on_all_ended = on_all_ended
        self._experiment_id = run.path.name if experiment_id is None else experiment_id

        self._show = show
        self._lock = RunLock(run)
        self._ledger: Ledger | None = None
        self._staged: deque[JobSpec] = deque()
        self._unheard: dict[str, Job] = {}  # succeeded; what follows could not be written down
        self._cannot_write = ""
        self._to_adopt: set[str] = set()  # identities of jobs that an earlier session left running
        self._running = Running(slots)
        self._launcher = Launcher(
            slots, self._running, self._executor, self._policy, self._experiment_id
        )
        self._answers = Answers(run, self._cancel, self._policy.stop_grace_s)
        self._signals: list[int] = []
        self._waits_for = ""

    # ---- opening and adding -------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self._ledger = Ledger(
                self.folder,
                self._experiment_id,
                self._slots,
                self._policy.retries,
                self._policy.max_same_failures,
                self._show,
            )
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        store = self._ledger.store
        self._to_adopt = {job.spec.identity for job in store if job.state is State.RUNNING}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ledger = None
        self._executor.close()
        self._lock.__exit__(kind, error, trace)

    @property
    def earlier_jobs(self) -> tuple[Job, ...]:
        """All jobs that the run folder holds; only while the manager is open."""
        return tuple(self._opened().store)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of this session, in the order in which they came; only while it is open."""
        return tuple(self._opened().jobs.values())

    def note(self, what: str, text: str) -> None:
        """Write an event about the run as a whole, and log it."""
        self._opened().event(None, what, text)
        logger.info("%s: %s", what, text)

    def add(self, specs: Iterable[JobSpec]) -> None:
        """Queue jobs. One that the run already has is the same job, and is kept if it has ended.

        May be called before ``run``, from ``on_finished`` and from ``on_all_ended``.
        """
        for spec in specs:
            self._slots.of(spec.kind)
            # Taken in when the run goes on: only then may a job that still runs be adopted.
            self._staged.append(spec)

    def run(self) -> Outcome:
        """Run until all jobs have ended, launching was stopped, or a signal came.

        Raises:
            JobError: Another manager has this run folder, or has taken it over.
        """
        if self._ledger is None:
            with self:
                return self.run()
        ledger = self._ledger
        self._signals.clear()
        with noting(self._signals):
            ledger.event(None, "started", "")
            try:
                self._loop(ledger)
            except BaseException as error:
                # A defect or a refusal: no process may outlive its manager unnoticed.
                self._abandon()
                # Whoever has taken the run over says where it stands.
                if self._lock.is_mine():
                    reason = f"the manager ended with {type(error).__name__}: {error}"
                    ledger.progress.write_status("failed", reason, self._running.jobs)
                raise
        outcome = ledger.outcome(self._signals)
        running, waiting = self._running.jobs, self._waiting()
        ledger.progress.write_status(outcome.state, outcome.reason, running, waiting)
        ledger.event(None, outcome.state, outcome.reason)
        return outcome

    def _opened(self) -> Ledger:
        if self._ledger is None:
            raise JobError("the manager is not open; use it in a with statement")
        return self._ledger

    # ---- taking jobs in -----------------------------------------------------------------------

    def _take_in_staged(self) -> None:
        known = self._opened().jobs
        for _ in range(min(_MOST_TAKEN_IN, len(self._staged))):
            spec = self._staged[0]
            if spec.identity not in known:
                try:
                    self._take_in(spec)
                except OSError as error:
                    self._waits_for = f"the run folder cannot be written: {error.strerror}"
                    return
            self._staged.popleft()

    def _take_in(self, spec: JobSpec) -> None:
        ledger = self._opened()
        job = ledger.store.find(spec)
        if job is None:
            job = ledger.store.create(spec)
            ledger.know(job)
            ledger.event(job, State.QUEUED, "new")
            ledger.queues[job.kind].append(job)
            return
        ledger.store.renew(job, spec)
        if job.state is State.RUNNING:
            self._to_adopt.discard(spec.identity)
            handle = find_again(job, self._executor, self._watcher, ledger.host)
            ledger.know(job)
            self._recover(job, handle)
            return
        ledger.know(job)
        if job.state is State.QUEUED:
            ledger.queues[job.kind].append(job)
        elif job.state is State.SUCCEEDED:
            if isinstance(result := read_result(job.folder.result), dict):
                self._report_success(job)
            else:
                what = "gone" if result is None else f"unusable: {result}"
                ledger.enqueue(job, f"it had succeeded, but its result file is {what}")

    def _recover(self, job: Job, handle: Handle | None) -> None:
        """A job that a dead manager left running: wait for it, or read how it ended."""
        if handle is None:
            self._apply(job, self._evidence(job, None))
            return
        self._running.hold(job, handle, tuple(self._slots.named(name) for name in job.slot))
        job.token, job.pid = handle.token, handle.pid
        self._opened().store.save(job)
        self._opened().event(job, State.RUNNING, "still runs, waiting for it")
        logger.info("%s %s: still runs, waiting for it", job.kind, job.id)

    # ---- the loop -----------------------------------------------------------------------------

    def _loop(self, ledger: Ledger) -> None:
        self._take_in_staged()
        ledger.progress.opening({kind: len(queue) for kind, queue in ledger.queues.items()})
        while True:
            if self._signals:
                name = signal.Signals(self._signals[0]).name
                self._stop_all(f"stopped by {name}")
                return
            self._lock.beat()
            ledger.store.catch_up()
            self._take_in_staged()
            if not self._staged:
                self._answers.answer(ledger)
            self._hand_on()
            if not ledger.stopped and self._may_start():
                chosen, self._waits_for = place(ledger.queues, self._slots, self._why_not_now)
                self._waits_for = self._launcher.start(ledger, chosen) or self._waits_for
            over = bool(ledger.stopped) or not ledger.num_queued()
            ended = over and not self._running.jobs and not self._staged and not self._unheard
            if ended and (ledger.stopped or not self._more_follows(ledger)):
                return
            running, waiting = self._running.jobs, self._waiting()
            ledger.progress.write_status("running", ledger.stopped, running, waiting)
            # While there are jobs to take in, only look.
            for handle in self._poll(0.0 if self._staged and not self._waits_for else _TICK_S):
                self._end(handle)

    def _may_start(self) -> bool:
        """Not while jobs of earlier sessions may hold devices that look free, nor too soon after
        the executor took nothing."""
        adopted = not (self._staged and self._to_adopt)
        return adopted and self._launcher.may_start()

    def _more_follows(self, ledger: Ledger) -> bool:
        """Ask what follows from the whole of the jobs; gives whether the session goes on."""
        try:
            follow = [] if self._on_all_ended is None else list(self._on_all_ended())
        except DnasError as error:
            ledger.stopped = str(error)
            logger.error("%s", error)
            return False
        except OSError as error:
            self._waits_for = f"the run folder cannot be written: {error.strerror}"
            return True
        self.add(spec for spec in follow if spec.identity not in ledger.jobs)
        return bool(self._staged)

    def _waiting(self) -> dict[str, int]:
        """Why jobs wait -> how many."""
        ledger = self._opened()
        reasons = Counter({self._cannot_write: len(self._unheard)})
        waits_for = ledger.stopped or self._waits_for or "for a free device"
        reasons[waits_for] += ledger.num_queued() + len(self._staged)
        return dict(+reasons)

    def _poll(self, timeout_s: float) -> list[Handle]:
        ended = self._watcher.poll()
        return ended + self._executor.poll(0.0 if ended else timeout_s)

    def _why_not_now(self, job: Job, chosen: Sequence[Job]) -> str:
        """Why a job may not start now though devices are free, or ``""``."""
        guards, behind = self._policy.guards, self._opened().store.behind
        if behind or (behind := guards.why_no_disk(self.folder.path)):
            return behind
        if self._executor.places_jobs:
            return ""
        return self._running.why_no_memory(job, chosen, guards)

    # ---- ends ---------------------------------------------------------------------------------

    def _end(self, handle: Handle) -> None:
        job = self._running.release(handle)
        self._apply(job, self._evidence(job, handle))

    def _evidence(self, job: Job, handle: Handle | None) -> Evidence:
        return Evidence(
            record=read_attempt(job.folder.attempt(job.attempts)),
            result=job.folder.result,
            log=job.folder.log,
            log_offset=job.log_offset,
            engine_word="" if handle is None else handle.ending,
            engine_reason="" if handle is None else handle.ending_reason,
        )

    def _apply(self, job: Job, evidence: Evidence) -> None:
        """Turn the end of an attempt into the job's next state."""
        ledger, record = self._opened(), evidence.record or {}
        job.ended, job.exit_code = time.time(), record.get("exit_code")
        job.seconds = record.get("seconds")
        job.pid, job.token = None, {}
        if record.get("state") != ENDED and record.get("host") in (None, ledger.host):
            # Its supervisor died first; what it left must not write into the next attempt.
            self._executor.clear(job.folder, job.attempts, record)
        remove_temporary_files(job.folder.path)
        remove_temporary_files(job.folder.architectures)
        self._running.note_peak(job.kind, int(record.get("peak_memory_bytes") or 0))
        verdict = judge(evidence)
        if verdict.ending is Ending.SUCCEEDED:
            self._report_success(job)
        elif job.cancel_reason:
            ledger.end(job, State.CANCELLED, job.cancel_reason)
        elif self._signals and verdict.ending is Ending.PREEMPTED:
            ledger.change(job, State.QUEUED, f"the manager was stopped: {verdict.reason}")
        else:
            ledger.decide(job, verdict)

    def _report_success(self, job: Job) -> None:
        """Ask for the jobs that follow before saying that it succeeded: that may undo it."""
        try:
            self.add(self._on_finished(job) if self._on_finished is not None else [])
        except DnasError as error:
            reason = f"after success: {error}"
            self._opened().decide(job, Verdict(Ending.CRASHED, str(error), reason))
            return
        except OSError as error:
            self._cannot_write = f"the run folder cannot be written: {error.strerror}"
            self._unheard[job.spec.identity] = job
            return
        self._opened().succeeded(job)

    def _hand_on(self) -> None:
        """Ask again for what follows from jobs of which it could not be written down."""
        again, self._unheard = self._unheard, {}
        for job in again.values():
            self._report_success(job)

    # ---- requests -----------------------------------------------------------------------------

    def _cancel(self, job: Job) -> bool:
        """Cancel a job; False if it runs and is not this session's."""
        reason = "cancelled on request"
        if job.state is State.QUEUED:
            self._opened().cancel_queued(job, reason)
        elif job.state is State.RUNNING:
            if job.spec.identity in self._unheard:
                return True  # it has succeeded
            if (handle := self._running.handle_of(job)) is None:
                return False
            again, job.cancel_reason = bool(job.cancel_reason), reason
            # Asked twice, it is killed.
            self._cancel_handle(handle, kill=again)
        return True

    def _cancel_handle(self, handle: Handle, *, kill: bool = False) -> None:
        by = self._watcher if self._watcher.watches(handle) else self._executor
        by.cancel(handle, kill=kill)

    # ---- stopping -----------------------------------------------------------------------------

    def _stop_all(self, reason: str) -> None:
        """End all running jobs: each may save a checkpoint, and has its grace for that."""
        self._opened().stopped = self._opened().stopped or reason
        if not self._running.jobs:
            return
        logger.warning(
            "%s: %d running jobs save a checkpoint and end, within %g s; once more to kill them "
            "now",
            reason,
            len(self._running.jobs),
            self._policy.stop_grace_s,
        )
        for handle in self._end_jobs(impatient=True):
            self._end(handle)

    def _abandon(self) -> None:
        """End all running jobs without writing anything: the next start reads what they left."""
        for handle in self._end_jobs(impatient=False):
            self._running.jobs.pop(handle, None)

    def _end_jobs(self, *, impatient: bool) -> Iterator[Handle]:
        """Ask, wait for the grace, kill; gives each handle as it ends.

        Args:
            impatient: Whether another signal to the manager cuts the grace short.
        """
        for kill, wait_s in ((False, self._policy.stop_grace_s), (True, _KILL_WAIT_S)):
            for handle in self._running.jobs:
                self._cancel_handle(handle, kill=kill)
            deadline = time.monotonic() + wait_s
            while self._running.jobs and (left := deadline - time.monotonic()) > 0:
                if impatient and not kill and len(self._signals) > 1:
                    break
                try:
                    self._lock.beat()
                except JobError:
                    if impatient:
                        raise
                yield from self._poll(min(_TICK_S, left))
