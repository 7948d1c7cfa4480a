"""The jobs that a manager has running: their handles, their devices, the memory they take."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dnas.jobs.executors import Handle
from dnas.jobs.guards import Guards
from dnas.jobs.job import Job
from dnas.jobs.slots import Device, SlotPool


class Running:
    """What runs now, and what was learned of the memory that jobs of each kind take.

    Args:
        slots: The devices, of which each job that runs holds some.
    """

    def __init__(self, slots: SlotPool) -> None:
        self._slots = slots
        self.jobs: dict[Handle, Job] = {}
        self._begun_s: dict[Handle, float] = {}
        self._largest_bytes: dict[str, int] = {}

    def hold(self, job: Job, handle: Handle, found: tuple[Device, ...]) -> None:
        """Count a job as running on the devices ``found``."""
        self.jobs[handle] = job
        self._begun_s[handle] = time.monotonic()
        share = self._slots.share(job.kind, alone=job.alone)
        self._slots.take(job.spec.identity, found, share)

    def release(self, handle: Handle) -> Job:
        """Count a job as over, and its devices as free."""
        job = self.jobs.pop(handle)
        del self._begun_s[handle]
        self._slots.release(job.spec.identity)
        return job

    def handle_of(self, job: Job) -> Handle | None:
        """The handle of a job, None if it does not run."""
        return next((handle for handle, other in self.jobs.items() if other is job), None)

    def note_peak(self, kind: str, peak_bytes: int) -> None:
        """Remember the most memory that an attempt at a job of this kind took."""
        self._largest_bytes[kind] = max(peak_bytes, self._largest_bytes.get(kind, 0))

    def why_no_memory(self, job: Job, chosen: Sequence[Job], guards: Guards) -> str:
        """Why the host has no memory for another job, or ``""``.

        Args:
            job: The job that would be started.
            chosen: Those that are started with it.
            guards: The limits.
        """
        largest, now = self._largest_bytes, time.monotonic()
        running = [
            (self._begun_s[handle], largest.get(other.kind, 0))
            for handle, other in self.jobs.items()
        ]
        running += [(now, largest.get(other.kind, 0)) for other in chosen]
        return guards.why_no_memory(largest.get(job.kind, 0), running)
