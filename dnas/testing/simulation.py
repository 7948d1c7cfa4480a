"""An executor whose time is virtual: the real queue at work, thousands of jobs, and no process.

Every attempt has a fate: how long it takes and what it exits with. ``poll`` moves the clock to the
next end at once and leaves in the job's folder what a supervisor would. So a day of 64 GPUs takes
seconds, the same ones every time.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from dnas.errors import EXIT_PREEMPTED
from dnas.files import write_json
from dnas.jobs import attempt as attempts
from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.runs import JobFolder

#: Parts of a device are read from a float; none is smaller than this one.
_SMALLEST_PART = 64


@dataclass(frozen=True)
class Fate:
    """What becomes of an attempt."""

    seconds: float
    exit_code: int = 0


@dataclass(frozen=True, kw_only=True)
class Span:
    """An attempt that has taken place."""

    name: str
    """Last word of the job's command."""
    kind: str
    attempt: int
    devices: tuple[str, ...]
    """GPU ids."""
    share: Fraction
    """The part that it took of each device."""
    begun_s: float
    ended_s: float
    exit_code: int

    @property
    def work_s(self) -> float:
        """Device-seconds."""
        return (self.ended_s - self.begun_s) * float(self.share) * len(self.devices)


@dataclass(eq=False, kw_only=True)
class _Simulated(Handle):
    name: str
    devices: tuple[str, ...]
    share: Fraction
    begun_s: float
    fate: Fate


class SimulatedExecutor(Executor):
    """Runs nothing, in virtual time, and checks the load of each device at every start.

    Jobs must be on GPUs (of any number; none is needed), and the last word of a command must tell
    its job.

    Args:
        fate: Name of a job and number of the attempt (from 1) -> what becomes of it.
    """

    name = "simulated"

    def __init__(self, fate: Callable[[str, int], Fate]) -> None:
        self._fate = fate
        self._heap: list[tuple[float, int, _Simulated]] = []
        self._load: Counter[str] = Counter()
        self._started = 0
        self.now_s = 0.0
        """The virtual time."""
        self.history: list[Span] = []
        """All attempts that have ended, in the order in which they did."""
        self.starts: list[str] = []
        """Name of the job of every start, in order."""
        self.cpu_s = 0.0
        """Time of the processor that this executor itself has taken."""

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        before = time.process_time()
        handles: list[Handle] = [self._start(folder, order) for folder, order in orders]
        self.cpu_s += time.process_time() - before
        return handles

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        return None

    def poll(self, timeout_s: float) -> list[Handle]:
        """The attempts that end next, all that do so at the same time.

        Raises:
            AssertionError: Whoever asks would wait for ever, because nothing runs.
        """
        if timeout_s <= 0:
            return []
        assert self._heap, f"nothing runs at {self.now_s:.1f} s, and nothing has been started"
        before = time.process_time()
        self.now_s = self._heap[0][0]
        ended: list[Handle] = []
        while self._heap and self._heap[0][0] <= self.now_s:
            handle = heapq.heappop(self._heap)[2]
            self._end(handle)
            ended.append(handle)
        self.cpu_s += time.process_time() - before
        return ended

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        """The attempt stops at once, as one does that has saved a checkpoint."""
        for position, (_, number, running) in enumerate(self._heap):
            if running is handle:
                running.fate = Fate(self.now_s - running.begun_s, EXIT_PREEMPTED)
                self._heap[position] = (self.now_s, number, running)
                heapq.heapify(self._heap)
                return

    def _start(self, folder: JobFolder, order: Order) -> _Simulated:
        name = order.argv[-1]
        devices = tuple(order.variables["CUDA_VISIBLE_DEVICES"].split(","))
        share = Fraction(order.num_gpus / len(devices)).limit_denominator(_SMALLEST_PART)
        for device in devices:
            self._load[device] += share  # type: ignore[assignment]
            assert self._load[device] <= 1, f"{self._load[device]} of GPU {device} is taken"
        fate = self._fate(name, order.attempt)
        handle = _Simulated(
            folder, order.attempt, name=name, devices=devices, share=share, begun_s=self.now_s,
            fate=fate,
        )  # fmt: skip
        self._started += 1
        self.starts.append(name)
        heapq.heappush(self._heap, (self.now_s + fate.seconds, self._started, handle))
        return handle

    def _end(self, handle: _Simulated) -> None:
        for device in handle.devices:
            self._load[device] -= handle.share  # type: ignore[assignment]
        code = handle.fate.exit_code
        if code == 0:
            write_json(handle.folder.result, {"status": "succeeded"}, durable=False)
        record = {
            "state": attempts.ENDED,
            "attempt": handle.attempt,
            "end": attempts.EXITED,
            "exit_code": code,
            "seconds": handle.fate.seconds,
            "out_of_memory_kills": 0,
        }
        claimed = attempts.claim(handle.folder.attempt(handle.attempt), record)
        assert claimed, f"{handle.folder.path}: attempt {handle.attempt} has been started twice"
        self.history.append(
            Span(
                name=handle.name,
                kind=handle.folder.path.parent.name,
                attempt=handle.attempt,
                devices=handle.devices,
                share=handle.share,
                begun_s=handle.begun_s,
                ended_s=self.now_s,
                exit_code=code,
            )
        )
