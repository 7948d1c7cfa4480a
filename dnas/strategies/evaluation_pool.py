"""Evaluating candidates one after the other, or side by side in processes.

Workers share one copy of the supernet's weights, in shared memory (on a GPU each has its own), and
make the rest of their evaluator, data included, for themselves. They are forked from a process that
has imported what they need and does nothing else. They are idle or evaluate one
candidate each; results come in the order of the candidates, whoever was ready first. A worker that
raises, or dies, ends the search with an error that names its candidate: none is left out silently.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Protocol

import torch
import torch.multiprocessing as mp

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError, DnasError, JobError, Preempted
from dnas.strategies.evaluator import Evaluator
from dnas.strategies.shared_module import SharedModule
from dnas.training.task import Metrics

#: From the trained supernet to its evaluator. For several processes it must survive pickling: a
#: function of a module, or a ``functools.partial`` of one.
MakeEvaluator = Callable[[SuperNet], Evaluator]

#: Seconds between two looks at the stop request while workers are busy.
_LOOK_S = 0.5


class Evaluations(Protocol):
    """Evaluates candidates; a context, at whose end nothing of it runs."""

    def __call__(self, architectures: Sequence[Architecture]) -> Iterator[Metrics]:
        """The metrics of each, in order.

        Raises:
            Preempted: Stopping was asked for.
        """

    def __enter__(self) -> Evaluations: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


def evaluations(
    super_net: SuperNet,
    make_evaluator: MakeEvaluator,
    *,
    processes: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
) -> Evaluations:
    """Evaluate in this process, or in several others; the metrics are the same.

    Args:
        super_net: Trained. Other processes have copies of it, which share their weights.
        make_evaluator: Called once in each process.
        processes: 1: this one.
        should_stop: Asked before every candidate.

    Raises:
        ConfigError: Less than one process, or the supernet cannot be sent to another one.
    """
    if processes < 1:
        raise ConfigError(f"--eval_processes must be at least 1, but got {processes}")
    if processes == 1:
        return InProcess(make_evaluator(super_net), should_stop)
    return EvaluationPool(super_net, make_evaluator, processes, should_stop)


class InProcess:
    """Evaluates in this process. See :func:`evaluations`."""

    def __init__(self, evaluate: Evaluator, should_stop: Callable[[], bool]) -> None:
        self._evaluate = evaluate
        self._should_stop = should_stop

    def __call__(self, architectures: Sequence[Architecture]) -> Iterator[Metrics]:
        """The metrics of each, in order."""
        for architecture in architectures:
            if self._should_stop():
                raise Preempted("search stopped")
            try:
                metrics = self._evaluate(architecture)
            except Exception as error:
                error.add_note(f"while evaluating candidate {architecture.id}: {architecture}")
                raise
            yield metrics

    def __enter__(self) -> InProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


class _Worker:
    """A process and the connection to it; ``task`` is the number of what it evaluates."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self.process = process
        self.connection = connection
        self.task: int | None = None

    def receive(self, about: str) -> Any:
        """What the worker says of ``about``.

        Raises:
            JobError: It raised an error that a person can mend.
            MemoryError: It ran out of memory.
            RuntimeError: It raised another error, or died.
        """
        try:
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            how = f"by signal {-code}" if code is not None and code < 0 else f"with code {code}"
            raise RuntimeError(
                f"{about}: the evaluating process ended {how} (killed for want of memory?); what "
                "was evaluated before is kept: run the same command to go on, with a smaller "
                "--eval_processes if memory is short"
            ) from None
        if kind == "done":
            return value
        message, trace = value
        if kind == "user_error":
            raise JobError(f"{about}: {message}")
        if kind == "out_of_memory":
            raise MemoryError(f"{about}: {message}; use a smaller --eval_processes")
        raise RuntimeError(f"{about}: the evaluating process raised\n{trace}")


class EvaluationPool:
    """Evaluates in ``processes`` processes. See :func:`evaluations`."""

    def __init__(
        self,
        super_net: SuperNet,
        make_evaluator: MakeEvaluator,
        processes: int,
        should_stop: Callable[[], bool],
    ) -> None:
        self._should_stop = should_stop
        self._workers: list[_Worker] = []
        shared = SharedModule.pack(super_net)
        context = mp.get_context("forkserver")
        context.set_forkserver_preload(["__main__", __name__])
        try:
            for _ in range(processes):
                ours, theirs = context.Pipe()
                # As many threads as here: their number decides the last bits of a sum.
                process = context.Process(
                    target=_work,
                    args=(theirs, shared, make_evaluator, torch.get_num_threads()),
                    daemon=True,
                )
                try:
                    process.start()
                except (pickle.PicklingError, AttributeError, TypeError) as error:
                    raise ConfigError(
                        f"--eval_processes={processes}: the evaluator cannot be sent to another "
                        f"process ({error}); use --eval_processes=1"
                    ) from error
                theirs.close()
                self._workers.append(_Worker(process, ours))
            for worker in self._workers:
                worker.receive("starting an evaluating process")
        except BaseException:
            self._end()
            raise

    def __call__(self, architectures: Sequence[Architecture]) -> Iterator[Metrics]:
        """The metrics of each, in order."""
        waiting = deque(range(len(architectures)))
        ready: dict[int, Metrics] = {}
        for number in range(len(architectures)):
            while number not in ready:
                self._hand_out(waiting, architectures)
                self._collect(ready, architectures)
            yield ready.pop(number)

    def _hand_out(self, waiting: deque[int], architectures: Sequence[Architecture]) -> None:
        if self._should_stop():
            raise Preempted("search stopped")
        for worker in self._workers:
            if worker.task is None and waiting:
                worker.task = waiting.popleft()
                # A worker that is gone says so when it is listened to.
                with contextlib.suppress(OSError):
                    worker.connection.send(architectures[worker.task])

    def _collect(self, ready: dict[int, Metrics], architectures: Sequence[Architecture]) -> None:
        busy = {worker.connection: worker for worker in self._workers if worker.task is not None}
        for connection in wait(list(busy), timeout=_LOOK_S):
            worker = busy[connection]  # type: ignore[index]
            assert worker.task is not None
            ready[worker.task] = worker.receive(f"candidate {architectures[worker.task].id}")
            worker.task = None

    def __enter__(self) -> EvaluationPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.connection.close()
        self._workers = []


def _work(
    connection: Connection, shared: SharedModule, make_evaluator: MakeEvaluator, threads: int
) -> None:
    """A worker's life: it ends when the other end of the connection does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)  # a stop is the searching process's affair
    torch.set_num_threads(threads)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            evaluate = make_evaluator(shared.unpack())
        except Exception as error:
            connection.send(_described(error))
            return
        connection.send(("done", None))
        while True:
            architecture = connection.recv()
            try:
                answer = ("done", dict(evaluate(architecture)))
            except Exception as error:
                connection.send(_described(error))
            else:
                connection.send(answer)


def _described(error: Exception) -> tuple[str, tuple[str, str]]:
    """The kind of an error, its message and its traceback."""
    kind = "error"
    if isinstance(error, DnasError):
        kind = "user_error"
    elif isinstance(error, torch.OutOfMemoryError | MemoryError):
        kind = "out_of_memory"
    return kind, (f"{type(error).__name__}: {error}", traceback.format_exc())
