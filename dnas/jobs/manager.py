"""The job queue: keeps every device busy until every job has ended, however it ends.

Every change is on disk before the next step, and every attempt at a job is claimed by exactly one
supervisor (:mod:`dnas.jobs.attempt`). So a manager that is killed at any point can be started
again: jobs that ended are kept, jobs that run are adopted, and nothing runs twice. What the end of
an attempt was is read by :mod:`dnas.jobs.verdict`, what follows from it is decided by
:mod:`dnas.jobs.retries`. No sleep decides anything: the manager is woken by the end of a job, and
looks up in between only for what comes as files.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from dnas.errors import ConfigError, DnasError, JobError
from dnas.jobs import requests
from dnas.jobs.attempt import HEARTBEAT_S, LOST_AFTER_S, read_attempt
from dnas.jobs.command import command, variables
from dnas.jobs.executors import Executor, Handle, LocalExecutor, Order
from dnas.jobs.executors.watch import Watcher
from dnas.jobs.guards import Guards
from dnas.jobs.job import KINDS, Job, JobSpec, State
from dnas.jobs.lock import RunLock
from dnas.jobs.outcome import Outcome, one_line
from dnas.jobs.progress import Progress
from dnas.jobs.recovery import find_again
from dnas.jobs.retries import Retries, decide
from dnas.jobs.signals import noting
from dnas.jobs.slots import Device, SlotPool
from dnas.jobs.store import JobStore, log_size, remove_temporary_files, set_aside_result
from dnas.jobs.strikes import Strikes
from dnas.jobs.verdict import Ending, Evidence, Verdict, judge, read_result
from dnas.runs import RunFolder

logger = logging.getLogger(__name__)

#: Longest wait before requests, signals and the status file are looked after.
_TICK_S = 0.5
#: New jobs that are taken in before devices are looked after again.
_MOST_TAKEN_IN = 200
#: How long to wait for supervisors after they were told to kill their jobs.
_KILL_WAIT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a manager treats its jobs."""

    retries: Retries = field(default_factory=Retries)
    guards: Guards = field(default_factory=Guards)
    timeout_s: float | None = None
    """Longest time for one attempt; None for no limit."""
    max_same_failures: int = 5
    """So many failures in a row with one cause stop launching; 2 do if the job refused its settings
    or data. 0 never stops."""
    stop_grace_s: float = 120.0
    """Seconds between asking a job to stop, for which it may save a checkpoint, and killing it."""
    heartbeat_s: float = HEARTBEAT_S
    lost_after_s: float = LOST_AFTER_S
    """A job on another host whose beat has stood still for so long is lost."""


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
        self._experiment_id = run.path.name if experiment_id is None else experiment_id

        self._lock = RunLock(run)
        self._store: JobStore | None = None
        self._staged: deque[JobSpec] = deque()
        self._jobs: dict[str, Job] = {}  # identity -> job of this session
        self._by_id: dict[tuple[str, str], Job] = {}
        self._queues: dict[str, deque[Job]] = {kind: deque() for kind in KINDS}
        self._running: dict[Handle, Job] = {}
        self._begun_s: dict[Handle, float] = {}
        self._largest_bytes: dict[str, int] = {}
        self._pid, self._host = os.getpid(), socket.gethostname()
        self._signals: list[int] = []
        self._stopped = ""
        self._waits_for = ""
        self._strikes = Strikes(self._policy.max_same_failures)
        self._progress = Progress(run, self._experiment_id, self._pid, self._host, slots, show)

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
        self._executor.close()
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
        """Queue jobs. One that the run already has is the same job, and is kept if it has ended.

        May be called before ``run`` and from ``on_finished``.
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
                # A defect or a refusal: no process may outlive its manager unnoticed.
                self._abandon()
                with contextlib.suppress(OSError):
                    reason = f"the manager ended with {type(error).__name__}: {error}"
                    self._progress.write_status("failed", reason, self._running)
                raise
        self._event(None, outcome.state, outcome.reason)
        return outcome

    def _opened(self) -> JobStore:
        if self._store is None:
            raise JobError("the manager is not open; use it in a with statement")
        return self._store

    # ---- taking jobs in -----------------------------------------------------------------------

    def _take_in_staged(self) -> None:
        for _ in range(min(_MOST_TAKEN_IN, len(self._staged))):
            spec = self._staged[0]
            if spec.identity not in self._jobs:
                try:
                    self._take_in(spec)
                except OSError as error:
                    self._waits_for = f"the run folder cannot be written: {error.strerror}"
                    return
            self._staged.popleft()

    def _take_in(self, spec: JobSpec) -> None:
        store = self._opened()
        job = store.find(spec)
        if job is None:
            job = store.create(spec)
            self._know(job)
            self._event(job, State.QUEUED, "new")
            self._queues[job.kind].append(job)
            return
        store.renew(job, spec)
        if job.state is State.RUNNING:
            handle = find_again(job, self._executor, self._watcher, self._host)
            self._know(job)
            self._recover(job, handle)
            return
        self._know(job)
        if job.state is State.QUEUED:
            self._queues[job.kind].append(job)
        elif job.state is State.SUCCEEDED:
            if isinstance(result := read_result(job.folder.result), dict):
                self._report_success(job)
            else:
                what = "gone" if result is None else f"unusable: {result}"
                self._enqueue(job, f"it had succeeded, but its result file is {what}")

    def _know(self, job: Job) -> None:
        self._jobs[job.spec.identity] = job
        self._by_id[job.kind, job.id] = job
        self._progress.changed(job)

    def _recover(self, job: Job, handle: Handle | None) -> None:
        """A job that a dead manager left running: wait for it, or read how it ended."""
        if handle is None:
            self._apply(job, self._evidence(job, None))
            return
        devices = tuple(self._slots.named(name) for name in job.slot)
        self._hold(job, handle, devices)
        self._event(job, State.RUNNING, "still runs, waiting for it")
        logger.info("%s %s: still runs, waiting for it", job.kind, job.id)

    # ---- the loop -----------------------------------------------------------------------------

    def _loop(self) -> None:
        self._take_in_staged()
        self._progress.opening({kind: len(queue) for kind, queue in self._queues.items()})
        while True:
            if self._signals:
                name = signal.Signals(self._signals[0]).name
                self._stop_all(f"stopped by {name}")
                return
            self._lock.beat()
            self._opened().catch_up()
            self._take_in_staged()
            if not self._staged:
                self._answer_requests()
            if not self._stopped:
                self._place()
            if not self._running and not self._staged and self._is_over():
                return
            self._progress.write_status("running", self._stopped, self._running, self._queued())
            # While there are jobs to take in, only look.
            for handle in self._poll(0.0 if self._staged and not self._waits_for else _TICK_S):
                self._end(handle)

    def _is_over(self) -> bool:
        return bool(self._stopped) or not any(self._queues.values())

    def _queued(self) -> dict[str, int]:
        """Why jobs wait -> how many."""
        waiting = sum(len(queue) for queue in self._queues.values()) + len(self._staged)
        if not waiting:
            return {}
        return {self._stopped or self._waits_for or "for a free device": waiting}

    def _poll(self, timeout_s: float) -> list[Handle]:
        ended = self._watcher.poll()
        return ended + self._executor.poll(0.0 if ended else timeout_s)

    def _place(self) -> None:
        """Start queued jobs wherever there is room: supernets first, first come first served.

        A job that finds no room reserves the emptiest devices that it may use, so that it is not
        overtaken for ever by smaller jobs.
        """
        self._waits_for = ""
        reserved: set[Device] = set()
        chosen: list[tuple[Job, tuple[Device, ...]]] = []
        for kind in KINDS:
            queue, position = self._queues[kind], 0
            while position < len(queue) and not (self._signals or self._stopped):
                job = queue[position]
                found, has_room = self._slots.free_for(kind, alone=job.alone, without=reserved)
                if not found:
                    break
                if not has_room:
                    reserved.update(found)
                    position += 1
                    continue
                if self._waits_for or (reason := self._why_not_now(kind)):
                    self._waits_for = self._waits_for or reason
                    break
                del queue[position]
                self._slots.take(job.spec.identity, found, self._slots.share(kind, alone=job.alone))
                chosen.append((job, found))
        if chosen:
            self._start(chosen)

    def _why_not_now(self, kind: str) -> str:
        """Why no job may start now though devices are free, or ``""``."""
        guards, behind = self._policy.guards, self._opened().behind
        if behind or (behind := guards.why_no_disk(self.folder.path)):
            return behind
        if self._executor.places_jobs:
            return ""
        running = [
            (self._begun_s[handle], self._largest_bytes.get(job.kind, 0))
            for handle, job in self._running.items()
        ]
        return guards.why_no_memory(self._largest_bytes.get(kind, 0), running)

    def _start(self, chosen: list[tuple[Job, tuple[Device, ...]]]) -> None:
        ready: list[tuple[Job, tuple[Device, ...], Order]] = []
        for job, found in chosen:
            try:
                ready.append((job, found, self._order(job, found)))
            except ConfigError as error:
                self._slots.release(job.spec.identity)
                reason = f"it could not be started: {error}"
                self._decide(job, Verdict(Ending.CRASHED, reason, reason))
            except OSError as error:
                self._put_back(job, f"its files cannot be written: {error.strerror}")
        if not ready:
            return
        try:
            handles = self._executor.submit([(job.folder, order) for job, _, order in ready])
        except OSError as error:
            for job, _, _ in reversed(ready):
                self._put_back(job, f"{self._executor.name} takes no jobs: {error}")
            return
        for (job, found, _), handle in zip(ready, handles, strict=True):
            job.token, job.pid = handle.token, handle.pid
            self._slots.release(job.spec.identity)
            self._hold(job, handle, found)
            self._opened().save(job)
            self._progress.started(job)

    def _order(self, job: Job, found: tuple[Device, ...]) -> Order:
        """Get everything about the next attempt on disk before there is a process."""
        slots, policy = self._slots.of(job.kind), self._policy
        set_aside_result(job.folder, job.attempts)
        job.folder.stop.unlink(missing_ok=True)
        job.attempts += 1
        # After a power cut the status may be older than the attempts.
        while job.folder.attempt(job.attempts).exists():
            job.attempts += 1
        job.slot = tuple(device.name for device in found)
        job.host, job.exit_code, job.pid, job.token = self._host, None, None, {}
        job.started, job.ended = time.time(), None
        job.log_offset = log_size(job.folder.log)
        num_gpus = slots.num_gpus(found, alone=job.alone)
        placed = None if slots.chosen_by_engine else found
        order = Order(
            argv=tuple(command(job, self._experiment_id, slots, num_gpus > 0)),
            variables=variables(job, placed, slots.threads),
            cwd=os.getcwd(),
            attempt=job.attempts,
            place=job.place,
            num_gpus=num_gpus,
            num_cpus=slots.cpus_per_job or slots.num_processes,
            timeout_s=policy.timeout_s,
            stop_grace_s=policy.stop_grace_s,
            heartbeat_s=policy.heartbeat_s,
        )
        order.write(job.folder)
        self._change(job, State.RUNNING, f"attempt {job.attempts}")
        return order

    def _put_back(self, job: Job, reason: str) -> None:
        """To the front of the queue: it was not started, for a reason that is not its own."""
        self._slots.release(job.spec.identity)
        self._change(job, State.QUEUED, reason)
        self._queues[job.kind].appendleft(job)
        self._waits_for = reason

    def _hold(self, job: Job, handle: Handle, found: tuple[Device, ...]) -> None:
        self._running[handle] = job
        self._begun_s[handle] = time.monotonic()
        share = self._slots.share(job.kind, alone=job.alone)
        self._slots.take(job.spec.identity, found, share)

    # ---- ends ---------------------------------------------------------------------------------

    def _end(self, handle: Handle) -> None:
        job = self._running.pop(handle)
        del self._begun_s[handle]
        self._slots.release(job.spec.identity)
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
        record = evidence.record or {}
        job.ended, job.exit_code = time.time(), record.get("exit_code")
        job.pid, job.token = None, {}
        if "out_of_memory_kills" not in record and record.get("host") in (None, self._host):
            # Its supervisor died first; what it left must not write into the next attempt.
            self._executor.clear(job.folder, job.attempts, record)
        remove_temporary_files(job.folder.path)
        remove_temporary_files(job.folder.architectures)
        peak = int(record.get("peak_memory_bytes") or 0)
        self._largest_bytes[job.kind] = max(peak, self._largest_bytes.get(job.kind, 0))
        verdict = judge(evidence)
        if verdict.ending is Ending.SUCCEEDED:
            self._report_success(job)
        elif job.cancel_reason:
            self._change(job, State.CANCELLED, job.cancel_reason)
            self._progress.ended(job)
        elif self._signals and verdict.ending is Ending.PREEMPTED:
            self._change(job, State.QUEUED, f"the manager was stopped: {verdict.reason}")
        else:
            self._decide(job, verdict)

    def _decide(self, job: Job, verdict: Verdict) -> None:
        decision = decide(verdict, self._policy.retries, job.retries)
        name = verdict.ending.value
        if decision.again:
            job.retries[name] = job.retries.get(name, 0) + 1
            self._event(job, name, verdict.reason)
            self._enqueue(job, decision.reason)
            return
        self._change(job, decision.state, decision.reason)
        self._progress.ended(job)
        if self._strikes.failure(verdict) and not self._stopped:
            waiting = sum(len(queue) for queue in self._queues.values()) + len(self._staged)
            self._stopped = (
                f"{self._strikes.count} jobs in a row failed for the same reason, so no more are "
                f"started and {waiting} stay queued: {one_line(verdict.reason)}. Mend the cause, "
                f"then dnas retry {self.folder.path} --failed, and start the same command again: "
                "it goes on from here"
            )
            logger.error("%s", self._stopped)

    def _report_success(self, job: Job) -> None:
        """Ask for the jobs that follow before saying that it succeeded: that may undo it."""
        try:
            self.add(self._on_finished(job) if self._on_finished is not None else [])
        except DnasError as error:
            reason = f"after success: {error}"
            self._decide(job, Verdict(Ending.CRASHED, str(error), reason))
            return
        self._strikes.success()
        if job.state is not State.SUCCEEDED:
            self._change(job, State.SUCCEEDED, "")
            self._progress.ended(job)

    def _enqueue(self, job: Job, reason: str) -> None:
        self._change(job, State.QUEUED, reason)
        self._queues[job.kind].append(job)
        logger.warning("%s %s: queued again: %s", job.kind, job.id, one_line(reason))

    def _change(self, job: Job, state: State, reason: str) -> None:
        job.state, job.reason = state, reason
        self._opened().save(job)
        self._event(job, state, reason)

    def _event(self, job: Job | None, state: str, reason: str) -> None:
        if job is not None and job.spec.identity in self._jobs:
            self._progress.changed(job)
        self._opened().event(job, str(state), reason, pid=self._pid, host=self._host)

    # ---- requests -----------------------------------------------------------------------------

    def _answer_requests(self) -> None:
        for request in requests.pending(self.folder):
            for name in request.jobs:
                job = self._by_id.get(name)
                if job is None:
                    logger.warning("asked to %s %s: no such job here", request.action, name[1])
                elif request.action == requests.CANCEL:
                    self._cancel(job)
                else:
                    self._retry(job)
            if request.file is not None:
                request.file.unlink(missing_ok=True)

    def _cancel(self, job: Job) -> None:
        reason = "cancelled on request"
        if job.state is State.QUEUED:
            with contextlib.suppress(ValueError):
                self._queues[job.kind].remove(job)
            self._change(job, State.CANCELLED, reason)
            self._progress.ended(job)
        elif job.state is State.RUNNING:
            again, job.cancel_reason = bool(job.cancel_reason), reason
            handle = next(h for h, running in self._running.items() if running is job)
            # Asked twice, it is killed.
            self._cancel_handle(handle, kill=again)

    def _retry(self, job: Job) -> None:
        if not job.state.ended or job.state is State.SUCCEEDED:
            return
        job.retries, job.cancel_reason = {}, ""
        self._enqueue(job, f"asked for again; before: {job.state}")
        self._strikes.success()
        self._stopped = ""

    def _cancel_handle(self, handle: Handle, *, kill: bool = False) -> None:
        by = self._watcher if self._watcher.watches(handle) else self._executor
        by.cancel(handle, kill=kill)

    # ---- stopping -----------------------------------------------------------------------------

    def _stop_all(self, reason: str) -> None:
        """End all running jobs: each may save a checkpoint, and has its grace for that."""
        self._stopped = self._stopped or reason
        if not self._running:
            return
        logger.warning(
            "%s: %d running jobs save a checkpoint and end, within %g s; once more to kill them "
            "now",
            reason,
            len(self._running),
            self._policy.stop_grace_s,
        )
        for handle in self._end_jobs(impatient=True):
            self._end(handle)

    def _abandon(self) -> None:
        """End all running jobs without writing anything: the next start reads what they left."""
        for handle in self._end_jobs(impatient=False):
            self._running.pop(handle, None)

    def _end_jobs(self, *, impatient: bool) -> Iterator[Handle]:
        """Ask, wait for the grace, kill; gives each handle as it ends.

        Args:
            impatient: Whether another signal to the manager cuts the grace short.
        """
        for kill, wait_s in ((False, self._policy.stop_grace_s), (True, _KILL_WAIT_S)):
            for handle in self._running:
                self._cancel_handle(handle, kill=kill)
            deadline = time.monotonic() + wait_s
            while self._running and (left := deadline - time.monotonic()) > 0:
                if impatient and not kill and len(self._signals) > 1:
                    break
                self._lock.beat()
                yield from self._poll(min(_TICK_S, left))

    def _outcome(self) -> Outcome:
        failures = self._progress.failures()
        if self._signals:
            state, code = "interrupted", 128 + self._signals[0]
        elif failures or self._stopped or any(not job.state.ended for job in self._jobs.values()):
            state, code = "failed", 1
        else:
            state, code = "finished", 0
        self._progress.write_status(state, self._stopped, self._running, self._queued())
        counts = self._progress.counts()
        return Outcome(state, code, self.folder.path, counts, failures, self._stopped)
