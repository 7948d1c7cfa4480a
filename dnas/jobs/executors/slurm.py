"""Jobs as jobs of a Slurm cluster, through submitit.

Orders that need the same go to Slurm as one job array. On the node submitit runs
:class:`~dnas.jobs.executors.slurm_node.Supervise`, which it pickles for itself, into ``*.pkl``
files of the executor's folder. All that the manager and its jobs exchange are the JSON files of the
job's folder, as with any other engine, so manager and nodes must share a file system.

A job that Slurm preempts, or whose time limit is near, saves a checkpoint and waits in Slurm's
queue under the same id; one that an administrator requeues does too. It is still the same attempt:
the supervisor of the later start takes it over, and the handle ends when Slurm has done with the
job.

Slurm's accounting (``sacct``) is not needed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.jobs import attempt as attempts
from dnas.jobs.executors.base import Executor, Handle, Order, ask_by_file
from dnas.jobs.executors.slurm_queue import ENDINGS, WAITING, Row, SlurmQueue
from dnas.jobs.executors.slurm_submit import SlurmSubmitter
from dnas.runs import JobFolder

#: Seconds between two looks at the files of attempts that run, and of those that wait, of which
#: there may be thousands.
_LOOK_S = 1.0
_LOOK_AT_ALL_S = 10.0
_SLEEP_S = 0.05
#: How long to wait for Slurm when it must be known whether it has a job.
_ADOPT_PATIENCE_S = 20.0
#: Seconds in which the end that a supervisor wrote may still be on its way through the file system.
_SETTLE_S = 5.0


@dataclass(eq=False)
class _Slurm(Handle):
    name: str = ""
    """Of its sbatch, by which the job is found while its id is not known."""
    index: int = 0
    """Its place in the array."""
    since_s: float = 0.0
    """Answers to earlier questions say nothing about this job (monotonic)."""
    noticed: bool = False
    """Its supervisor has written an end on which Slurm has the last word."""
    over_since_s: float | None = None

    @property
    def slurm_id(self) -> str:
        return str(self.token.get("slurm_id", ""))


class SlurmExecutor(Executor):
    """Submits job arrays and follows their tasks by the attempts' files and ``squeue``.

    Args:
        folder: For scripts and logs, on a file system that the nodes see: ``slurm`` in the run
            folder.
        partition: Default the cluster's.
        time_min: Time limit of one start of a job, in minutes. A job that needs longer saves a
            checkpoint shortly before, and goes on in its next start.
        array_parallelism: How many jobs of one array may run at once.
        options: Further options of sbatch, e.g. ``{"account": "ads", "mem": "32G"}``; ``True`` for
            an option without value.

    Raises:
        DnasError: submitit or Slurm's commands are not installed.
        ConfigError: An option is reserved.
    """

    name = "slurm"
    places_jobs = True

    def __init__(
        self,
        folder: str | Path,
        *,
        partition: str | None = None,
        time_min: int = 24 * 60,
        array_parallelism: int = 256,
        options: Mapping[str, str | bool] | None = None,
    ) -> None:
        self._folder = Path(folder).absolute()
        self._submitter = SlurmSubmitter(
            self._folder,
            partition=partition,
            time_min=time_min,
            array_parallelism=array_parallelism,
            options=options or {},
        )
        self._queue = SlurmQueue()
        self._handles: list[_Slurm] = []
        self._looked_s = self._looked_at_all_s = -math.inf
        self._patience_s = _ADOPT_PATIENCE_S

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        made: dict[int, _Slurm] = {}
        try:
            for places, submitted in self._submitter.submit(orders):
                for place, job in zip(places, submitted, strict=True):
                    folder, order = orders[place]
                    made[place] = _Slurm(
                        folder,
                        order.attempt,
                        {"slurm_id": job.slurm_id},
                        started=False,
                        name=job.name,
                        index=job.index,
                        since_s=job.since_s,
                    )
        except Exception:
            # All or none. Should one of these start all the same, its attempt is claimed by then,
            # and whoever submits it again finds it so.
            for handle in made.values():
                self._queue.cancel(handle.slurm_id, only_waiting=False)
            raise
        self._handles += made.values()
        self._queue.hurry()
        return [made[place] for place in range(len(orders))]

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        handle = _Slurm(folder, attempt, dict(token), started=False)
        if not handle.slurm_id:
            found = self._submitter.find(folder, attempt)
            if found is None:
                return None
            handle.name, handle.index = found
        # Many are adopted one after the other, and one answer that has the job is good for all.
        # One that has not may be older than the job.
        answered = self._find(handle)[1] is not None or self._ask()
        row = self._find(handle)[1]
        record = attempts.read_attempt(folder.attempt(attempt)) or {}
        has_ended = record.get("state") == attempts.ENDED
        if has_ended and row is not None and not row.is_over:  # an answer of before the end
            answered = self._ask()
            row = self._find(handle)[1]
        if answered and row is None:
            return None
        if has_ended and row is not None and row.is_over:
            return None
        # If Slurm does not answer, it may have the job or not; poll will know.
        handle.started = record.get("state") == attempts.RUNNING
        self._handles.append(handle)
        self._queue.hurry()
        return handle

    def poll(self, timeout_s: float) -> list[Handle]:
        deadline = time.monotonic() + timeout_s
        while True:
            news, now = self._queue.work(), time.monotonic()
            everything = news or now - self._looked_at_all_s >= _LOOK_AT_ALL_S
            if everything or now - self._looked_s >= _LOOK_S:
                seen = [handle for handle in self._handles if everything or handle.started]
                ended = [handle for handle in seen if self._has_ended(handle)]
                self._looked_s = now
                self._looked_at_all_s = now if everything else self._looked_at_all_s
                if ended:
                    gone = set(map(id, ended))
                    self._handles = [h for h in self._handles if id(h) not in gone]
                    self._queue.hurry()  # others may have their places
                    return list[Handle](ended)
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            time.sleep(min(left, _SLEEP_S))

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        if not isinstance(handle, _Slurm) or handle not in self._handles:
            return
        # By file, and not by a signal of Slurm, which a job that is just being started would miss.
        grace_s = float(_read(handle.folder.order).get("stop_grace_s", 0.0))
        ask_by_file(handle.folder, handle.attempt, kill=kill, grace_s=grace_s)
        if slurm_id := self._find(handle)[0]:
            self._queue.cancel(slurm_id, only_waiting=not kill)

    def close(self) -> None:
        self._queue.close()

    def _ask(self) -> bool:
        """Ask Slurm and wait, but for a silent one only once."""
        answered = self._queue.ask(self._patience_s)
        self._patience_s = _ADOPT_PATIENCE_S if answered else 0.0
        return answered

    def _has_ended(self, handle: _Slurm) -> bool:
        record = attempts.read_attempt(handle.folder.attempt(handle.attempt)) or {}
        slurm_id, row = self._find(handle, record)
        if record.get("state") == attempts.ENDED:
            if _is_final(record) or _was_asked(handle):
                return True
            if not handle.noticed:
                # A signal ended it, and Slurm may have sent it: what has become of the job?
                handle.noticed, handle.since_s = True, time.monotonic()
                self._queue.hurry()
        elif record.get("state") == attempts.RUNNING:
            handle.noticed = False
        if self._queue.asked_s < handle.since_s:
            return False
        if row is None or row.is_over:
            return self._is_over(handle, slurm_id, row, str(record.get("state", "")))
        handle.started = row.state not in WAITING
        handle.waits_for = "" if handle.started else row.reason or row.state
        handle.over_since_s = None
        return False

    def _is_over(self, handle: _Slurm, slurm_id: str, row: Row | None, state: str) -> bool:
        """Slurm has done with the job; is what its supervisor wrote all there?"""
        ending = ENDINGS[row.state] if row is not None else "lost"
        if state not in (attempts.ENDED, attempts.REVOKED):
            never_began = not state and not handle.started and ending == "cancelled"
            now = time.monotonic()
            if handle.over_since_s is None:
                handle.over_since_s = now
            if not never_began and now - handle.over_since_s < _SETTLE_S:
                with contextlib.suppress(OSError):
                    os.listdir(handle.folder.path)  # has NFS see what is new in the folder
                handle.started = True  # looked at every second
                return False
            ending = ending or "lost"
        elif ending == "lost":
            ending = ""
        if ending:
            said = "does not know the job any more" if row is None else f"says {row.state}"
            handle.ending = ending
            handle.ending_reason = (
                f"Slurm {said}: job {slurm_id or handle.name}; its log is in {self._folder}"
            )
        return True

    def _find(
        self, handle: _Slurm, record: Mapping[str, Any] | None = None
    ) -> tuple[str, Row | None]:
        """Id of the Slurm job that runs, or will run, the attempt, and what Slurm says of it."""
        # An attempt that was submitted twice is run by one of the two.
        engine, _, slurm_id = str((record or {}).get("engine", "")).partition(" ")
        if engine != self.name:
            slurm_id = handle.slurm_id
        if not slurm_id:
            for some_id, row in self._queue.rows.items():
                if row.name == handle.name and _index(some_id) == handle.index:
                    handle.token = {"slurm_id": some_id}
                    return some_id, row
        return slurm_id, self._queue.rows.get(slurm_id)


def _index(slurm_id: str) -> int:
    """Place in the array; a batch of one job is none."""
    return int(slurm_id.partition("_")[2] or 0)


def _is_final(record: Mapping[str, Any]) -> bool:
    """Whether the end is the job's own affair, so that Slurm's word can change nothing."""
    if record.get("end") == attempts.TIMED_OUT:
        return True
    # SIGKILL may be Slurm's, for memory.
    return record.get("end") == attempts.EXITED and record.get("exit_code") != -9


def _was_asked(handle: Handle) -> bool:
    """Whether a manager asked the job to stop: then it has stopped for that."""
    return _read(handle.folder.stop).get("attempt") == handle.attempt


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
