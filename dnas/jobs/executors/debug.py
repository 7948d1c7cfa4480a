"""Jobs as calls of a Python function in this process: pipelines without subprocesses, for tests."""

from __future__ import annotations

from collections.abc import Callable

from dnas.jobs.executors.base import Executor, Handle, Order


class DebugExecutor(Executor):
    """Runs ``function(order)`` at once; what it returns is the exit code.

    An exception is written to the job's log and exits 1, as it would from a script.

    Args:
        function: Stands for the program; gets the order with argv, environment and paths.
    """

    def __init__(self, function: Callable[[Order], int]) -> None:
        self._function = function
        self._ended: list[Handle] = []

    def start(self, order: Order) -> Handle:
        handle = Handle(None)
        try:
            handle.exit_code = self._function(order)
        except Exception as error:
            with open(order.log, "a", encoding="utf-8") as log:
                log.write(f"{type(error).__name__}: {error}\n")
            handle.exit_code = 1
        self._ended.append(handle)
        return handle

    def adopt(self, pid: int, mark: str) -> Handle | None:
        return None

    def wait(self, timeout_s: float) -> list[Handle]:
        ended, self._ended = self._ended, []
        return ended

    def send(self, handle: Handle, signal_number: int) -> None:
        """Nothing to do: a call has ended before a signal could reach it."""
