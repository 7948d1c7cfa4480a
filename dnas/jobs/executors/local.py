"""Jobs as processes of this machine, each supervisor in a session of its own.

Supervisors are forked by a process that has imported what they and their jobs need
(:mod:`dnas.jobs.nursery`), and started by themselves as long as there is none.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE, revoke
from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.jobs.executors.nurseries import Nurseries
from dnas.jobs.processes import kill_by_variables, process_mark
from dnas.jobs.supervisor import supervisor_command
from dnas.runs import JobFolder

#: How often processes are looked at where the kernel cannot wake us at their end.
_POLL_S = 0.05
#: How long a supervisor may take to kill its job before it is killed itself.
_KILL_WAIT_S = 5.0


@dataclass(eq=False)
class _Local(Handle):
    mark: str = ""
    """Start time of the supervisor, which tells it from a later process with the same pid."""
    popen: subprocess.Popen[bytes] | None = None
    """None for a supervisor that is no child of this process."""
    watch: int | None = None
    """File descriptor that becomes readable when it ends, where there is such a thing."""
    kill_at: float | None = None


class LocalExecutor(Executor):
    """Starts supervisors without a shell and is woken by the kernel when one ends.

    Args:
        preload: Modules to import once, for all jobs that are Python scripts; their state must not
            depend on which process imports them. None for what the first job's script imports of
            torch and of this library; empty to have jobs import for themselves.
        warm: Whether to keep processes ready for jobs at all. What they have imported is as it was
            when they began, so that code edited during a run does not count.
    """

    name = "local"

    def __init__(self, preload: Sequence[str] | None = None, *, warm: bool = True) -> None:
        self._running: list[_Local] = []
        self._nurseries = Nurseries(preload) if warm else None

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        handles: list[Handle] = []
        for folder, order in orders:
            try:
                handle = self._start(folder, order)
            except OSError as error:  # no more processes, say
                if not handles:
                    raise
                revoke(folder.attempt(order.attempt))
                handle = _Local(folder, order.attempt, ending="lost", ending_reason=str(error))
            self._running.append(handle)
            handles.append(handle)
        return handles

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        pid, mark = token.get("pid"), token.get("mark")
        if not isinstance(pid, int) or mark is None or process_mark(pid) != mark:
            return None
        handle = _Local(folder, attempt, dict(token), pid=pid, mark=str(mark))
        self._watch(handle)
        self._running.append(handle)
        return handle

    def poll(self, timeout_s: float) -> list[Handle]:
        deadline = time.monotonic() + timeout_s
        while True:
            ended = self._ended()
            for handle in ended:
                self._running.remove(handle)
                self._close(handle)
            left = deadline - time.monotonic()
            if ended or left <= 0:
                return list[Handle](ended)
            self._sleep(left)

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        if not isinstance(handle, _Local) or handle not in self._running:
            return
        self._signal(handle, signal.SIGUSR2 if kill else signal.SIGTERM)
        if kill and handle.kill_at is None:
            handle.kill_at = time.monotonic() + _KILL_WAIT_S

    def clear(self, folder: JobFolder, attempt: int, record: Mapping[str, Any]) -> None:
        kill_by_variables(
            {
                JOB_FOLDER_VARIABLE: str(folder.path.absolute()),
                JOB_ATTEMPT_VARIABLE: str(attempt),
            }
        )

    def close(self) -> None:
        if self._nurseries is not None:
            self._nurseries.close()

    def _start(self, folder: JobFolder, order: Order) -> _Local:
        birth = self._nurseries and self._nurseries.start(folder, order, self.name)
        if birth:
            token = {"pid": birth.pid, "mark": birth.mark}
            handle = _Local(folder, order.attempt, token, pid=birth.pid, mark=birth.mark)
            self._watch(handle)
            return handle
        popen = subprocess.Popen(
            supervisor_command(folder, order.attempt, self.name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A session, and thus a group, of its own: Ctrl-C at the terminal reaches the manager
            # alone.
            start_new_session=True,
        )
        mark = process_mark(popen.pid) or ""
        token = {"pid": popen.pid, "mark": mark}
        handle = _Local(folder, order.attempt, token, pid=popen.pid, mark=mark, popen=popen)
        self._watch(handle)
        return handle

    def _watch(self, handle: _Local) -> None:
        opener = getattr(os, "pidfd_open", None)
        if opener is not None:
            with contextlib.suppress(OSError):
                handle.watch = opener(handle.pid)

    def _sleep(self, timeout_s: float) -> None:
        """Until a supervisor may have ended, at most ``timeout_s``."""
        kills = [h.kill_at - time.monotonic() for h in self._running if h.kill_at is not None]
        timeout_s = max(0.0, min([timeout_s, *kills]))
        if not self._running:
            time.sleep(timeout_s)
        elif any(handle.watch is None for handle in self._running):
            time.sleep(min(timeout_s, _POLL_S))
        else:
            self._poller().poll(math.ceil(timeout_s * 1000))

    def _ended(self) -> list[_Local]:
        """The supervisors that have ended; those that are overdue are killed on the way."""
        # One question to the kernel for all of them, and not two files of /proc for each.
        readable = {watch for watch, _ in self._poller().poll(0)}
        ended = []
        for handle in self._running:
            if handle.ending:  # it never began
                ended.append(handle)
            elif handle.watch in readable or (handle.watch is None and not self._is_alive(handle)):
                if handle.popen is not None:
                    handle.popen.wait()
                ended.append(handle)
            elif handle.kill_at is not None and time.monotonic() >= handle.kill_at:
                # A supervisor that does not even kill its job: both go, the job with its parent.
                self._signal(handle, signal.SIGKILL)
                handle.kill_at = None
        return ended

    def _poller(self) -> select.poll:
        poller = select.poll()
        for handle in self._running:
            if handle.watch is not None:
                poller.register(handle.watch, select.POLLIN)
        return poller

    @staticmethod
    def _is_alive(handle: _Local) -> bool:
        if handle.popen is not None:
            return handle.popen.poll() is None
        return process_mark(handle.pid or 0) == handle.mark

    def _signal(self, handle: _Local, number: signal.Signals) -> None:
        # An unreaped child keeps its pid; any other must be checked against reuse.
        if not self._is_alive(handle):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(handle.pid or 0, number)

    def _close(self, handle: _Local) -> None:
        if handle.watch is not None:
            os.close(handle.watch)
            handle.watch = None
