"""Jobs as calls of a Python function in this process: pipelines without subprocesses, for tests."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dnas.files import write_json
from dnas.jobs import attempt as attempts
from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.runs import JobFolder

#: A job may catch these; afterwards they are the manager's again.
_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class DebugExecutor(Executor):
    """Runs ``function(folder, order)`` at once; what it returns is the exit code.

    An exception is written to the job's log and exits 1, as it would from a script.

    Args:
        function: Stands for the program.
    """

    name = "debug"

    def __init__(self, function: Callable[[JobFolder, Order], int]) -> None:
        self._function = function
        self._ended: list[Handle] = []

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        handles = [Handle(folder, order.attempt) for folder, order in orders]
        for handle, (folder, order) in zip(handles, orders, strict=True):
            self._call(folder, order)
            self._ended.append(handle)
        return handles

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        return None

    def poll(self, timeout_s: float) -> list[Handle]:
        ended, self._ended = self._ended, []
        if not ended:
            time.sleep(timeout_s)
        return ended

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        """Nothing to do: a call has ended before anybody could ask."""

    def _call(self, folder: JobFolder, order: Order) -> None:
        file = folder.attempt(order.attempt)
        record = {
            "state": attempts.RUNNING,
            "attempt": order.attempt,
            "engine": self.name,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": time.time(),
        }
        if not attempts.claim(file, record):
            return
        begun = time.monotonic()
        try:
            code = self._function(folder, order)
        except Exception:
            with open(folder.log, "a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
            code = 1
        end = {
            "state": attempts.ENDED,
            "end": attempts.EXITED,
            "exit_code": code,
            "seconds": time.monotonic() - begun,
            "ended": time.time(),
        }
        write_json(file, record | end)


def run_here(folder: JobFolder, order: Order) -> int:
    """Run a Python script inside this process, where a debugger can stop it; others as a child.

    Raises:
        Exception: Whatever the script raises.
    """
    words = list(order.argv)
    before = dict(os.environ), os.getcwd(), sys.argv, list(sys.path)
    handlers = {number: signal.getsignal(number) for number in _CAUGHT}
    os.environ.update(order.variables)
    os.chdir(order.cwd)
    try:
        if words[0] != sys.executable or len(words) < 2 or words[1].startswith("-"):
            return subprocess.run(words, check=False).returncode
        sys.argv, sys.path[0] = words[1:], os.path.dirname(words[1])
        try:
            runpy.run_path(words[1], run_name="__main__")
        except SystemExit as end:
            if isinstance(end.code, str):
                sys.stderr.write(end.code + "\n")
                return 1
            return int(end.code or 0)
        return 0
    finally:
        os.environ.clear()
        os.environ.update(before[0])
        os.chdir(before[1])
        sys.argv, sys.path[:] = before[2], before[3]
        for number, handler in handlers.items():
            signal.signal(number, handler)
