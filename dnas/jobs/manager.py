"""The job queue: keeps every device busy until every job has ended, however it ends.

The end of a job is its process's end. What it was is read from exit code and result file by
:mod:`dnas.jobs.verdict`. Every change is on disk before the next step, so that a manager that is
killed at any point can be started again: jobs that succeeded are kept, jobs that still run are
waited for, all others are queued again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from dnas.errors import DnasError, JobError
from dnas.jobs.command import JOB_FOLDER_VARIABLE, command, environment
from dnas.jobs.executors import Executor, Handle, LocalExecutor, Order
from dnas.jobs.job import KINDS, Job, JobSpec, State
from dnas.jobs.lock import RunLock
from dnas.jobs.outcome import Outcome, count_states, failures_of, one_line
from dnas.jobs.processes import find_by_variable, process_mark
from dnas.jobs.progress import Progress
from dnas.jobs.signals import noting
from dnas.jobs.slots import Device, SlotPool, threads_per_job
from dnas.jobs.store import JobStore, log_size, set_aside_result
from dnas.jobs.verdict import (
    OUT_OF_MEMORY,
    PREEMPTED,
    SUCCEEDED,
    Verdict,
    judge,
    read_result,
)
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

#: Longest wait before signals and the status file are looked after; ends of jobs wake at once.
_TICK_S = 0.2
#: How long to wait for the kernel to remove a process after SIGKILL.
_KILL_WAIT_S = 5.0


class Manager:
    """Runs jobs of one run folder.

    ::

        with Manager(run, SlotPool({"supernet": (devices(["0", "1"]), 1)})) as manager:
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
        experiment_id: What ``EXPERIMENT_ID`` becomes, default the run folder's name.
        max_out_of_memory_retries: How often a job that runs out of memory is put to the back of
            the queue, to run alone on a device, before it is given up.
        max_preemptions: How often a job that asks for another attempt gets one.
        max_same_failures: So many failures in a row with one cause stop launching; 2 do if the
            job refused its settings or data. 0 never stops. Running out of memory and divergence
            do not count: they say something about one job's settings only.
        stop_grace_s: Seconds between SIGTERM and SIGKILL when the manager is stopped.
    """

    def __init__(
        self,
        run: RunFolder,
        slots: SlotPool,
        *,
        executor: Executor | None = None,
        on_finished: Callable[[Job], Iterable[JobSpec]] | None = None,
        experiment_id: str | None = None,
        max_out_of_memory_retries: int = 2,
        max_preemptions: int = 10,
        max_same_failures: int = 5,
        stop_grace_s: float = 10.0,
    ) -> None:
        self.folder = run
        self._slots = slots
        self._executor = LocalExecutor() if executor is None else executor
        self._on_finished = on_finished
        self._experiment_id = run.path.name if experiment_id is None else experiment_id
        self._max_out_of_memory = max_out_of_memory_retries
        self._max_preemptions = max_preemptions
        self._max_same_failures = max_same_failures
        self._stop_grace_s = stop_grace_s

        self._lock = RunLock(run)
        self._store: JobStore | None = None
        self._staged: list[JobSpec] = []
        self._jobs: dict[str, Job] = {}  # identity -> job of this session
        self._queues: dict[str, deque[Job]] = {kind: deque() for kind in KINDS}
        self._running: dict[Handle, Job] = {}
        self._pid, self._host = os.getpid(), socket.gethostname()
        self._signals: list[int] = []
        self._stopped = ""
        self._last_cause, self._same_causes = "", 0
        self._progress = Progress(run, self._experiment_id, self._pid, self._host, logger)

    # ---- opening and adding -------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._lock.__enter__()
        try:
            self._store = JobStore(self.folder)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store = None
        self._lock.__exit__(kind, error, trace)

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs of this session, in the order in which they were added."""
        return tuple(self._jobs.values())

    @property
    def earlier_jobs(self) -> tuple[Job, ...]:
        """All jobs that the run folder holds; only while the manager is open."""
        return tuple(self._opened())

    def add(self, specs: Iterable[JobSpec]) -> None:
        """Queue jobs. One that the run already has is the same job, and is kept if it succeeded.

        May be called before ``run`` and from ``on_finished``.
        """
        specs = list(specs)
        for spec in specs:
            self._slots.devices(spec.kind)
        # Jobs are taken in when the run starts: only then may a job that still runs be adopted.
        self._staged += specs

    def run(self) -> Outcome:
        """Run until all jobs have ended, launching was stopped, or a signal came.

        Raises:
            JobError: Another manager has this run folder, or a job may still run on another host.
        """
        if self._store is None:
            with self:
                return self.run()
        self._signals.clear()
        with noting(self._signals):
            self._event(None, "started", "")
            try:
                self._loop()
                outcome = self._outcome()
            except BaseException as error:
                # A refusal, a defect, or a full disk: no process may outlive its manager unnoticed.
                self._abandon()
                if self._jobs:
                    with contextlib.suppress(OSError):
                        reason = f"the manager ended with {type(error).__name__}: {error}"
                        self._progress.write_status("failed", reason, self.jobs)
                raise
        self._progress.write_status(outcome.state, outcome.reason, self.jobs)
        self._event(None, outcome.state, outcome.reason)
        return outcome

    def _opened(self) -> JobStore:
        if self._store is None:
            raise JobError("the manager is not open; use it in a with statement")
        return self._store

    def _take_in_staged(self) -> None:
        while self._staged:
            specs, self._staged = self._staged, []
            new = [spec for spec in specs if spec.identity not in self._jobs]
            self._refuse_other_hosts(new)
            for spec in new:
                self._take_in(spec)

    def _take_in(self, spec: JobSpec) -> None:
        store = self._opened()
        job = store.find(spec)
        if job is None:
            job = store.create(spec)
            self._jobs[spec.identity] = job
            self._enqueue(job, "new")
            return
        self._jobs[spec.identity] = job
        store.renew(job, spec)
        self._progress.changed(job)
        if job.state is State.RUNNING:
            self._recover(job)
        elif job.state is State.SUCCEEDED and job.folder.result.exists():
            self._report_success(job)
        elif job.state is State.QUEUED:
            self._enqueue(job, "not started yet")
        else:
            was = "its result file has gone" if job.state is State.SUCCEEDED else job.state
            self._enqueue(job, f"again after a restart; before: {was}")

    def _refuse_other_hosts(self, specs: Iterable[JobSpec]) -> None:
        store = self._opened()
        for spec in specs:
            job = store.find(spec)
            if job is None or job.state is not State.RUNNING or job.host in (None, self._host):
                continue
            raise JobError(
                f"{job.folder.path}: host {job.host} started this job (pid {job.pid}), and from "
                f"{self._host} it cannot be seen whether it still runs; start the manager there, "
                f"or, if that host or container has gone, delete {job.folder.status}"
            )

    def _recover(self, job: Job) -> None:
        """A job that a dead manager left running: wait for it, read its result, or queue it."""
        pid, mark = job.pid, job.process_mark
        if pid is None:
            # That manager was killed between starting the process and noting its pid.
            pid = find_by_variable(JOB_FOLDER_VARIABLE, str(job.folder.path.absolute()))
            mark = None if pid is None else process_mark(pid)
        handle = self._executor.adopt(pid, mark) if pid is not None and mark is not None else None
        if handle is not None:
            device = self._slots.named(job.device)
            self._slots.take(job.spec.identity, device, self._slots.share(job.kind, job.alone))
            job.pid, job.process_mark = handle.pid, handle.mark
            self._running[handle] = job
            self._change(job, State.RUNNING, f"still runs (pid {pid}), waiting for it")
            logger.info("%s %s: still runs (pid %d), waiting for it", job.kind, job.id, pid)
            return
        if isinstance(read_result(job.folder.result), dict):
            self._apply(job, judge(None, job.folder.result, job.folder.log, job.log_offset), None)
            return
        self._enqueue(job, "lost: it was running when its manager died, and left no result")

    # ---- the loop -----------------------------------------------------------------------------

    def _loop(self) -> None:
        self._take_in_staged()
        if kept := sum(job.state.ended for job in self._jobs.values()):
            logger.info("%d of %d jobs have ended before and are kept", kept, len(self._jobs))
        for kind in KINDS:
            if self._queues[kind]:
                shown = ", ".join(device.name for device in self._slots.devices(kind))
                logger.info(
                    "%d %s jobs to run on %s, %d at a time on each",
                    len(self._queues[kind]),
                    kind,
                    shown,
                    self._slots.per_device(kind),
                )
        while True:
            if self._signals:
                name = signal.Signals(self._signals[0]).name
                self._stop_all(f"stopped by {name}")
                return
            if not self._stopped:
                self._place()
                # A job whose start failed may have been the last.
                self._take_in_staged()
            self._progress.write_status("running", self._stopped, self.jobs)
            if not self._running and (self._stopped or not any(self._queues.values())):
                return
            for handle in self._executor.wait(_TICK_S):
                self._end(handle)
            self._take_in_staged()

    def _place(self) -> None:
        """Start queued jobs wherever there is room: supernets first, first come first served.

        A job that finds no room reserves the emptiest device that it may use, so that it is not
        overtaken for ever by smaller jobs of another kind.
        """
        reserved: set[Device] = set()
        for kind in KINDS:
            queue, position = self._queues[kind], 0
            while position < len(queue) and not (self._signals or self._stopped):
                candidates = [d for d in self._slots.devices(kind) if d not in reserved]
                if not candidates:
                    break
                device = self._slots.emptiest(candidates)
                if self._slots.has_room(device, self._slots.share(kind, queue[position].alone)):
                    job = queue[position]
                    del queue[position]
                    self._start(job, device)
                else:
                    reserved.add(device)
                    position += 1

    def _start(self, job: Job, device: Device) -> None:
        set_aside_result(job.folder, job.attempts)
        job.attempts += 1
        job.device, job.host, job.exit_code = device.name, self._host, None
        job.started, job.ended = time.time(), None
        job.pid = job.process_mark = None
        try:
            argv = command(job, self._experiment_id, device)
            _write_header(job, argv)
            job.log_offset = log_size(job.folder.log)
            # On disk before there is a process: a manager killed right here must not forget it.
            self._change(job, State.RUNNING, f"attempt {job.attempts}")
            threads = threads_per_job(self._slots.num_slots(job.kind))
            handle = self._executor.start(
                Order(
                    argv=tuple(argv),
                    env=environment(job, device, threads),
                    log=job.folder.log,
                    folder=job.folder.path,
                )
            )
        except (OSError, DnasError) as error:
            reason = f"it could not be started: {error}"
            self._apply(job, Verdict("failed", reason, f"start: {error}"), None)
            return
        self._running[handle] = job
        self._slots.take(job.spec.identity, device, self._slots.share(job.kind, job.alone))
        job.pid, job.process_mark = handle.pid, handle.mark
        self._opened().save(job)
        self._progress.started(job)

    def _end(self, handle: Handle) -> None:
        job = self._running.pop(handle)
        self._slots.release(job.spec.identity)
        verdict = judge(handle.exit_code, job.folder.result, job.folder.log, job.log_offset)
        self._apply(job, verdict, handle.exit_code)

    def _apply(self, job: Job, verdict: Verdict, exit_code: int | None) -> None:
        """Turn the end of an attempt into the job's next state."""
        job.ended, job.exit_code = time.time(), exit_code
        job.pid = job.process_mark = None
        if verdict.outcome == SUCCEEDED:
            self._report_success(job)
            return
        if self._signals:
            self._change(job, State.CANCELLED, f"the manager was stopped: {verdict.reason}")
            return
        if verdict.outcome == OUT_OF_MEMORY:
            job.out_of_memory += 1
            if job.out_of_memory <= self._max_out_of_memory:
                retry = f"retry {job.out_of_memory} of {self._max_out_of_memory}"
                self._enqueue(job, f"{verdict.reason}; {retry}, alone on a device")
            else:
                self._change(
                    job, State.OUT_OF_MEMORY, f"{job.out_of_memory} times {verdict.reason}"
                )
                self._log_end(job)
            return
        if verdict.outcome == PREEMPTED:
            job.preempted += 1
            if job.preempted <= self._max_preemptions:
                self._enqueue(job, f"{verdict.reason}; attempt {job.attempts + 1} follows")
                return
            verdict = Verdict("failed", f"{verdict.reason}, {job.preempted} times", "preempted")
        self._fail(job, verdict)

    def _report_success(self, job: Job) -> None:
        """Ask for the jobs that follow before saying that it succeeded: that may undo it."""
        if job.state is not State.SUCCEEDED:
            job.reason = ""
        try:
            following = list(self._on_finished(job)) if self._on_finished is not None else []
            self.add(following)
        except DnasError as error:
            self._fail(job, Verdict("failed", str(error), f"after success: {error}"))
            return
        self._last_cause, self._same_causes = "", 0
        if job.state is not State.SUCCEEDED:
            self._change(job, State.SUCCEEDED, "")
            self._log_end(job)

    def _fail(self, job: Job, verdict: Verdict) -> None:
        self._change(job, State.FAILED, verdict.reason)
        self._log_end(job)
        if not verdict.cause:
            return
        self._same_causes = self._same_causes + 1 if verdict.cause == self._last_cause else 1
        self._last_cause = verdict.cause
        limit = min(2, self._max_same_failures) if verdict.user_error else self._max_same_failures
        if limit and self._same_causes >= limit and not self._stopped:
            waiting = sum(len(queue) for queue in self._queues.values()) + len(self._staged)
            self._stopped = (
                f"{self._same_causes} jobs in a row failed for the same reason, so no more are "
                f"started and {waiting} stay queued: {one_line(verdict.reason)}. Mend the cause "
                "and start the same command again: it goes on from here"
            )
            logger.error("%s", self._stopped)

    def _enqueue(self, job: Job, reason: str) -> None:
        again = job.attempts > 0
        fresh = job.state is State.QUEUED and not again
        if not (fresh and reason == "new"):  # a new job's status has just been written
            self._change(job, State.QUEUED, reason)
        else:
            self._event(job, State.QUEUED, reason)
        self._queues[job.kind].append(job)
        if again:
            logger.warning("%s %s: queued again: %s", job.kind, job.id, one_line(reason))

    def _change(self, job: Job, state: State, reason: str) -> None:
        job.state, job.reason = state, reason
        self._opened().save(job)
        self._event(job, state, reason)

    def _event(self, job: Job | None, state: str, reason: str) -> None:
        self._progress.changed(job)
        self._opened().event(job, str(state), reason, pid=self._pid, host=self._host)

    # ---- stopping -----------------------------------------------------------------------------

    def _stop_all(self, reason: str) -> None:
        """End all running jobs: SIGTERM, some seconds to save a checkpoint, SIGKILL."""
        self._stopped = self._stopped or reason
        if not self._running:
            return
        logger.warning(
            "%s: asking %d running jobs to end, %g s for that; once more to kill them now",
            reason,
            len(self._running),
            self._stop_grace_s,
        )
        for handle in self._end_processes(impatient=True):
            self._end(handle)

    def _abandon(self) -> None:
        """End all running jobs without writing anything: the next start reads what they left."""
        for handle in self._end_processes(impatient=False):
            self._running.pop(handle, None)

    def _end_processes(self, *, impatient: bool) -> Iterator[Handle]:
        """SIGTERM, grace, SIGKILL; gives each handle as it ends.

        Args:
            impatient: Whether another signal to the manager cuts the grace short.
        """
        asked = len(self._signals)
        steps = ((signal.SIGTERM, self._stop_grace_s), (signal.SIGKILL, _KILL_WAIT_S))
        for step, wait_s in steps:
            for handle in self._running:
                self._executor.send(handle, step)
            deadline = time.monotonic() + wait_s
            while self._running and (left := deadline - time.monotonic()) > 0:
                if impatient and step == signal.SIGTERM and len(self._signals) > asked:
                    break
                yield from self._executor.wait(min(_TICK_S, left))

    # ---- the end ------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        jobs = self.jobs
        failures = failures_of(jobs)
        if self._signals:
            state, code = "interrupted", 128 + self._signals[0]
        elif failures or self._stopped or any(not job.state.ended for job in jobs):
            state, code = "failed", 1
        else:
            state, code = "finished", 0
        return Outcome(state, code, self.folder.path, count_states(jobs), failures, self._stopped)

    def _log_end(self, job: Job) -> None:
        waiting = (
            len(queue) / self._slots.num_slots(kind)
            for kind, queue in self._queues.items()
            if queue
        )
        self._progress.ended(job, waiting)


def _write_header(job: Job, argv: list[str]) -> None:
    """Start an attempt in the log with the command, ready to be run by hand."""
    when = time.strftime("%Y-%m-%d %H:%M:%S")
    with open(job.folder.log, "a", encoding="utf-8") as log:
        log.write(f"=== attempt {job.attempts}, {when}, {job.device}: {shlex.join(argv)}\n")
