"""Jobs as processes of this machine, each in a process group of its own."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass

from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.jobs.processes import process_mark

#: How often processes are looked at where the kernel cannot wake us at their end.
_POLL_S = 0.05


@dataclass(eq=False)
class _Local(Handle):
    popen: subprocess.Popen[bytes] | None = None
    """None for an adopted process."""
    watch: int | None = None
    """File descriptor that becomes readable when the process ends, where there is such a thing."""


class LocalExecutor(Executor):
    """Starts argument lists without a shell and is woken by the kernel when one ends.

    When a job's first process ends, what is left of its process group is killed: data loader
    workers that outlive a crash would hold the GPU's memory. A job that wants to leave a process
    behind starts it in a session of its own.
    """

    def __init__(self) -> None:
        self._running: list[_Local] = []

    def start(self, order: Order) -> Handle:
        with open(order.log, "ab") as log:
            popen = subprocess.Popen(
                list(order.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(order.env),
                # A session, and thus a group, of its own: Ctrl-C at the terminal reaches the
                # manager alone, and the manager can stop the job with all its children.
                start_new_session=True,
            )
        handle = _Local(popen.pid, process_mark(popen.pid), popen=popen)
        self._watch(handle)
        return handle

    def adopt(self, pid: int, mark: str) -> Handle | None:
        if process_mark(pid) != mark:
            return None
        handle = _Local(pid, mark)
        self._watch(handle)
        return handle

    def wait(self, timeout_s: float) -> list[Handle]:
        deadline = time.monotonic() + timeout_s
        while True:
            ended = [handle for handle in self._running if self._has_ended(handle)]
            for handle in ended:
                self._running.remove(handle)
                self._close(handle)
            left = deadline - time.monotonic()
            if ended or left <= 0:
                return list[Handle](ended)
            self._sleep(left)

    def send(self, handle: Handle, signal_number: int) -> None:
        if handle not in self._running or handle.pid is None:
            return
        # An unreaped child keeps its pid; an adopted one must be checked against reuse.
        if isinstance(handle, _Local) and handle.popen is None and not self._alive(handle):
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(handle.pid, signal_number)

    def _watch(self, handle: _Local) -> None:
        opener = getattr(os, "pidfd_open", None)
        if opener is not None:
            with contextlib.suppress(OSError):
                handle.watch = opener(handle.pid)
        self._running.append(handle)

    def _sleep(self, timeout_s: float) -> None:
        """Until a process may have ended, at most ``timeout_s``."""
        watches = [handle.watch for handle in self._running if handle.watch is not None]
        if len(watches) < len(self._running) or not watches:
            time.sleep(min(timeout_s, _POLL_S))
            return
        # Made anew each time: it holds a file descriptor that nobody would close.
        with selectors.DefaultSelector() as selector:
            for watch in watches:
                selector.register(watch, selectors.EVENT_READ)
            selector.select(timeout_s)

    def _has_ended(self, handle: _Local) -> bool:
        assert handle.pid is not None
        if handle.popen is None:
            if self._alive(handle):
                return False
            if not _exists(handle.pid):
                # A group without its leader: its pid is not used again while the group is there.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(handle.pid, signal.SIGKILL)
            return True
        if hasattr(os, "waitid"):
            # Without reaping: the group is cleared while the pid cannot belong to anybody else.
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            with contextlib.suppress(ChildProcessError):
                if os.waitid(os.P_PID, handle.pid, flags) is None:
                    return False
        elif handle.popen.poll() is None:
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(handle.pid, signal.SIGKILL)
        handle.exit_code = handle.popen.wait()
        return True

    @staticmethod
    def _alive(handle: _Local) -> bool:
        return handle.pid is not None and process_mark(handle.pid) == handle.mark

    def _close(self, handle: _Local) -> None:
        if handle.watch is not None:
            os.close(handle.watch)
            handle.watch = None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
