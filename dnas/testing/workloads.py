"""Made-up experiments for the queue, what the queue makes of them, and what there is to reach.

The durations of trainings have heavy tails, and some trainings fail. An experiment is drawn from a
seed, down to the fate of every attempt, so that two schedulers can be given the same one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from dnas.errors import EXIT_CRASH, EXIT_OUT_OF_MEMORY, EXIT_PREEMPTED
from dnas.jobs.guards import Guards
from dnas.jobs.job import Job, JobSpec
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.jobs.policy import Policy
from dnas.jobs.slots import SlotPool, Slots, devices
from dnas.runs import SAMPLED, SUPERNET, RunFolder
from dnas.testing.list_schedule import list_schedule
from dnas.testing.simulation import Fate, SimulatedExecutor, Span

Distribution = Literal["lognormal", "pareto"]


def gpus(numbers: Iterable[int], *, jobs_per_device: int = 1, devices_per_job: int = 1) -> Slots:
    """Slots on the GPUs of these numbers."""
    return Slots(
        devices=devices(str(number) for number in numbers),
        jobs_per_device=jobs_per_device,
        devices_per_job=devices_per_job,
    )


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Supernet jobs, each followed by the jobs of what it sampled, on GPUs."""

    slots: Mapping[str, Slots]
    num_supernets: int
    sampled_each: int = 0
    """Jobs of the second stage that each supernet that succeeds brings."""
    late_supernets: bool = False
    """Whether the first of these brings one more supernet, as when somebody asks for jobs again
    while others have all devices."""
    seed: int = 0
    distribution: Distribution = "lognormal"
    mean_s: float = 600.0
    """Mean time of a job, about."""
    out_of_memory: float = 0.06
    """The part of all jobs that runs out of memory, a third of it twice."""
    crashed: float = 0.03
    preempted: float = 0.05
    killed: float = 0.02
    """From outside, as when somebody takes the host."""

    @property
    def num_devices(self) -> int:
        """Devices of both kinds of job together."""
        return len({device for slots in self.slots.values() for device in slots.devices})

    @cached_property
    def supernets(self) -> tuple[str, ...]:
        """Their names, in the order in which they are asked for."""
        return tuple(f"u{number}" for number in range(self.num_supernets))

    def followers(self, name: str) -> tuple[str, ...]:
        """Names of the jobs that follow when job ``name`` has succeeded."""
        if name.startswith("u"):
            return tuple(f"a{name[1:]}.{number}" for number in range(self.sampled_each))
        late = self.late_supernets and name.startswith("a") and name.endswith(".0")
        return (f"v{name[1:]}",) if late else ()

    def kind(self, name: str) -> str:
        """Of the job of that name."""
        return SAMPLED if name.startswith("a") else SUPERNET

    def fate(self, name: str, attempt: int) -> Fate:
        """What becomes of an attempt, whoever makes it."""
        draw = random.Random(f"{self.seed}/{name}")
        seconds = self._seconds(draw)
        part = draw.uniform(0.05, 0.9)
        kind = draw.random()
        for share, code, times in (
            (self.out_of_memory / 3, EXIT_OUT_OF_MEMORY, 2),
            (self.out_of_memory * 2 / 3, EXIT_OUT_OF_MEMORY, 1),
            (self.crashed, EXIT_CRASH, 1),
            (self.preempted, EXIT_PREEMPTED, 1),
            (self.killed, -9, 1),
        ):
            kind -= share
            if kind < 0 and attempt <= times:
                return Fate(part * seconds, code)
            if kind < 0 and code == EXIT_PREEMPTED:
                return Fate((1 - part) * seconds)  # it goes on from its checkpoint
            if kind < 0:
                break
        return Fate(seconds)

    def _seconds(self, draw: random.Random) -> float:
        if self.distribution == "pareto":
            # Infinite variance; cut where one job would be the whole experiment.
            return self.mean_s / 3 * min(draw.paretovariate(1.5), 60.0)
        return self.mean_s * draw.lognormvariate(-0.5, 1.0)

    def spec(self, name: str) -> JobSpec:
        """The job of that name; its script is never run."""
        return JobSpec(kind=self.kind(name), argv=("python", __file__, name))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the queue made of a workload."""

    outcome: Outcome
    spans: tuple[Span, ...]
    """All attempts, in the order of their ends."""
    starts: tuple[str, ...]
    """Names of the jobs, in the order of the starts."""
    makespan_s: float
    """From the first start to the last end."""
    list_schedule_s: float
    """That of :func:`~dnas.testing.list_schedule.list_schedule` with what the queue knows."""
    clairvoyant_s: float
    """The same for a scheduler that knows when running jobs will end."""
    lower_bound_s: float
    """No schedule is shorter: all work spread evenly, or the longest chain of attempts."""
    utilisation: float
    """The part of all devices' time in which they were taken."""
    mean_wait_s: float
    """Between a job's being there and its start."""
    cpu_ms: float
    """Of the processor for each attempt: queue, slots, files and log lines."""


def simulate(workload: Workload, run: RunFolder) -> Measured:
    """Have the real queue run a workload in virtual time, and compare.

    Args:
        workload: The jobs and the devices.
        run: A run folder that is not there yet; best on a file system in memory.
    """
    executor = SimulatedExecutor(workload.fate)

    def follow(job: Job) -> Iterable[JobSpec]:
        return [workload.spec(name) for name in workload.followers(job.spec.argv[-1])]

    manager = Manager(
        run,
        SlotPool(workload.slots),
        executor=executor,
        on_finished=follow,
        policy=Policy(
            max_same_failures=0,
            # The memory and the disk of this host are not those of the simulated one.
            guards=Guards(min_free_memory_bytes=0, min_free_disk_bytes=0),
        ),
    )
    manager.add(workload.spec(name) for name in workload.supernets)
    before = time.process_time()
    outcome = manager.run()
    cpu_s = time.process_time() - before - executor.cpu_s
    spans = tuple(executor.history)
    work_s = sum(span.work_s for span in spans)
    makespan_s = max(span.ended_s for span in spans)
    waits = waiting_times(workload, spans)
    return Measured(
        outcome=outcome,
        spans=spans,
        starts=tuple(executor.starts),
        makespan_s=makespan_s,
        list_schedule_s=_list_schedule(workload, knows_ends=False),
        clairvoyant_s=_list_schedule(workload, knows_ends=True),
        lower_bound_s=max(work_s / workload.num_devices, _longest_chain_s(workload, spans)),
        utilisation=work_s / (workload.num_devices * makespan_s),
        mean_wait_s=sum(waits.values()) / len(waits),
        cpu_ms=1000 * cpu_s / len(spans),
    )


def _list_schedule(workload: Workload, *, knows_ends: bool) -> float:
    return list_schedule(
        workload.supernets,
        workload.slots,
        workload.kind,
        workload.fate,
        workload.followers,
        knows_ends=knows_ends,
    )


def waiting_times(workload: Workload, spans: Iterable[Span]) -> dict[tuple[str, int], float]:
    """(Job, attempt) -> seconds between the moment it could have started and its start."""
    there_s: dict[tuple[str, int], float] = dict.fromkeys(((n, 1) for n in workload.supernets), 0.0)
    waits = {}
    for span in sorted(spans, key=lambda span: span.ended_s):
        waits[span.name, span.attempt] = span.begun_s - there_s[span.name, span.attempt]
        there_s[span.name, span.attempt + 1] = span.ended_s
        if span.exit_code == 0:
            there_s |= {(name, 1): span.ended_s for name in workload.followers(span.name)}
    return waits


def _longest_chain_s(workload: Workload, spans: Iterable[Span]) -> float:
    """All attempts of a job and of those that follow it, which no schedule can overlap."""
    seconds: dict[str, float] = {}
    for span in spans:
        seconds[span.name] = seconds.get(span.name, 0.0) + span.ended_s - span.begun_s

    def chain(name: str) -> float:
        if name not in seconds:
            return 0.0
        return seconds[name] + max(map(chain, workload.followers(name)), default=0.0)

    return max(map(chain, workload.supernets))
