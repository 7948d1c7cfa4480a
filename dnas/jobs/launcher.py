"""Starting attempts: everything about them is on disk before there is a process."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence

from dnas.errors import ConfigError, DnasError
from dnas.jobs.command import command, variables
from dnas.jobs.executors import Executor, Order
from dnas.jobs.job import Job, State
from dnas.jobs.ledger import Ledger
from dnas.jobs.policy import Policy
from dnas.jobs.running import Running
from dnas.jobs.slots import Device, SlotPool
from dnas.jobs.store import log_size, set_aside_result
from dnas.jobs.verdict import Ending, Verdict

#: Waits after an executor took no jobs: the first, and the longest, each twice the one before.
_REFUSED_WAIT_S = 1.0
_LONGEST_REFUSED_WAIT_S = 60.0


class Launcher:
    """Gives jobs that have their devices to the executor.

    Args:
        slots: The devices.
        running: Gets the jobs that were started.
        executor: What runs them.
        policy: Limits and times.
        experiment_id: What ``EXPERIMENT_ID`` becomes.
    """

    def __init__(
        self,
        slots: SlotPool,
        running: Running,
        executor: Executor,
        policy: Policy,
        experiment_id: str,
    ) -> None:
        self._slots = slots
        self._running = running
        self._executor = executor
        self._policy = policy
        self._experiment_id = experiment_id
        self._refused_wait_s = _REFUSED_WAIT_S
        self._start_at_s = -math.inf

    def may_start(self) -> bool:
        """Whether the wait is over that follows when the executor took nothing."""
        return time.monotonic() >= self._start_at_s

    def start(self, ledger: Ledger, chosen: Sequence[tuple[Job, tuple[Device, ...]]]) -> str:
        """Start jobs on the devices that were taken for them.

        Returns:
            Why some are queued again, or ``""``.

        Raises:
            DnasError: The executor will never take them: a setting is wrong.
        """
        why = ""
        ready: list[tuple[Job, tuple[Device, ...], Order]] = []
        for job, found in chosen:
            try:
                ready.append((job, found, self._order(ledger, job, found)))
            except ConfigError as error:
                self._slots.release(job.spec.identity)
                reason = f"it could not be started: {error}"
                ledger.decide(job, Verdict(Ending.CRASHED, reason, reason))
            except OSError as error:
                why = f"its files cannot be written: {error.strerror}"
                self._put_back(ledger, job, why)
        if not ready:
            return why
        try:
            handles = self._executor.submit([(job.folder, order) for job, _, order in ready])
        except OSError as error:
            why = f"{self._executor.name} takes no jobs: {error}"
            for job, _, _ in reversed(ready):
                job.attempts -= 1  # it was not made
                self._put_back(ledger, job, why)
            self._start_at_s = time.monotonic() + self._refused_wait_s
            self._refused_wait_s = min(2 * self._refused_wait_s, _LONGEST_REFUSED_WAIT_S)
            return why
        except DnasError:
            for job, _, _ in reversed(ready):
                self._put_back(ledger, job, "not started")
            raise
        self._refused_wait_s = _REFUSED_WAIT_S
        for (job, found, _), handle in zip(ready, handles, strict=True):
            job.token, job.pid = handle.token, handle.pid
            self._slots.release(job.spec.identity)
            self._running.hold(job, handle, found)
            ledger.store.save(job)
            ledger.progress.started(job)
        return why

    def _order(self, ledger: Ledger, job: Job, found: tuple[Device, ...]) -> Order:
        """Get everything about the next attempt on disk before there is a process."""
        slots, policy = self._slots.of(job.kind), self._policy
        set_aside_result(job.folder, job.attempts)
        job.folder.stop.unlink(missing_ok=True)
        job.attempts += 1
        # After a power cut the status may be older than the attempts.
        while job.folder.attempt(job.attempts).exists():
            job.attempts += 1
        job.slot = tuple(device.name for device in found)
        job.host, job.exit_code, job.pid, job.token = ledger.host, None, None, {}
        job.started, job.ended, job.seconds = time.time(), None, None
        job.log_offset = log_size(job.folder.log)
        num_gpus = slots.num_gpus(found, alone=job.alone)
        placed = None if slots.chosen_by_engine else found
        set_for_job = variables(job, placed, slots.threads)
        if slots.num_processes > 1:
            # torchrun would give its workers 30 s to save a checkpoint.
            set_for_job["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(math.ceil(policy.stop_grace_s))
        order = Order(
            argv=tuple(command(job, self._experiment_id, slots, num_gpus > 0)),
            variables=set_for_job,
            cwd=os.getcwd(),
            attempt=job.attempts,
            place=job.place,
            num_gpus=num_gpus,
            num_cpus=slots.cpus_per_job or slots.num_processes,
            timeout_s=policy.timeout_s,
            stop_grace_s=policy.stop_grace_s,
            heartbeat_s=policy.heartbeat_s,
            only_sigterm=slots.num_processes > 1,
        )
        order.write(job.folder)
        ledger.change(job, State.RUNNING, f"attempt {job.attempts}")
        return order

    def _put_back(self, ledger: Ledger, job: Job, reason: str) -> None:
        self._slots.release(job.spec.identity)
        ledger.put_back(job, reason)
