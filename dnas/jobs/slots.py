"""Devices and how full they are.

A job of a kind whose config says ``NUM_JOBS_PER_GPU:n`` takes 1/n of a device, one whose config
says ``NUM_GPUS_PER_JOB:k`` takes k whole devices, and the jobs on a device never take more than the
whole, whatever kinds they are of. So two configs can share GPUs without putting more on one than
either of them allows.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass
from fractions import Fraction

from dnas.errors import ConfigError, JobError


@dataclass(frozen=True, order=True)
class Device:
    """A GPU or a CPU slot."""

    name: str
    """``gpu 0`` or ``cpu 1``, for people and for ``status.json``."""
    visible: str
    """Value of CUDA_VISIBLE_DEVICES: the GPU's id, or empty on a CPU slot."""


def devices(gpu_ids: Iterable[str]) -> tuple[Device, ...]:
    """Devices of ``GPU_IDS``; the k-th ``cpu`` is ``cpu k``, the same one for every config."""
    found: list[Device] = []
    cpus = 0
    for gpu_id in gpu_ids:
        if gpu_id == "cpu":
            found.append(Device(f"cpu {cpus}", ""))
            cpus += 1
        else:
            found.append(Device(f"gpu {gpu_id}", gpu_id))
    return tuple(found)


def check_visible(gpu_ids: Iterable[str], allowed: str | None) -> None:
    """Refuse GPUs that this shell may not use, e.g. those outside a cluster's allocation.

    Args:
        gpu_ids: Of a config.
        allowed: CUDA_VISIBLE_DEVICES of the manager, None where it is not set.

    Raises:
        ConfigError: One of them is not in ``allowed``.
    """
    if allowed is None:
        return
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    for gpu_id in gpu_ids:
        if gpu_id != "cpu" and gpu_id not in names:
            raise ConfigError(
                f"GPU_IDS names GPU {gpu_id}, but CUDA_VISIBLE_DEVICES={allowed} of this shell "
                "does not allow it; name GPUs from that list, or cpu, or unset the variable"
            )


def threads_per_job(num_slots: int, cores: int | None = None) -> int:
    """Threads for each of ``num_slots`` jobs that may run at once, at least one."""
    if cores is None:
        # Not os.cpu_count(): containers and taskset give a process fewer cores than there are.
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, cores // max(1, num_slots))


@dataclass(frozen=True, kw_only=True)
class Slots:
    """What the jobs of one kind may use."""

    devices: tuple[Device, ...]
    jobs_per_device: int = 1
    devices_per_job: int = 1
    cpus_per_job: int | None = None
    """Threads of a job; None shares the cores of this host among the jobs that run at once."""
    engine_gpus: Fraction | None = None
    """GPUs of a job where an engine places jobs; the one device then stands for its cluster."""

    def __post_init__(self) -> None:
        if self.jobs_per_device > 1 and self.devices_per_job > 1:
            raise ValueError("a job takes a part of a device or several devices, not both")

    @property
    def share(self) -> Fraction:
        """The part that a job takes of each of its devices."""
        return Fraction(1, self.jobs_per_device)

    @property
    def chosen_by_engine(self) -> bool:
        """Whether an engine chooses host and device."""
        return self.engine_gpus is not None

    @property
    def num_jobs(self) -> int:
        """How many jobs can run at once when they have the devices to themselves."""
        return len(self.devices) * self.jobs_per_device // self.devices_per_job

    @property
    def num_processes(self) -> int:
        """Processes of a job: one for each of several devices."""
        if self.engine_gpus is not None:
            return max(1, int(self.engine_gpus))
        return self.devices_per_job

    @property
    def threads(self) -> int:
        """Threads of each process of a job."""
        if self.cpus_per_job is not None:
            return max(1, self.cpus_per_job // self.num_processes)
        return 1 if self.chosen_by_engine else threads_per_job(self.num_jobs * self.num_processes)

    def num_gpus(self, found: tuple[Device, ...], *, alone: bool) -> float:
        """GPUs that a job on these devices needs, a fraction where it shares one."""
        if self.engine_gpus is not None:
            whole = alone and 0 < self.engine_gpus < 1
            return 1.0 if whole else float(self.engine_gpus)
        visible = sum(bool(device.visible) for device in found)
        return float(visible if alone else visible * self.share)


def engine_slots(name: str, gpus: Fraction, max_jobs: int, cpus: int | None = None) -> Slots:
    """Slots of an engine that places jobs: at most ``max_jobs`` are submitted at a time."""
    return Slots(
        devices=(Device(name, ""),), jobs_per_device=max_jobs, cpus_per_job=cpus, engine_gpus=gpus
    )


class SlotPool:
    """Which jobs are on which devices.

    Args:
        slots: For each kind of job, what it may use.
    """

    def __init__(self, slots: Mapping[str, Slots]) -> None:
        self._slots = dict(slots)
        self._load: dict[Device, Fraction] = {
            device: Fraction(0) for found in self._slots.values() for device in found.devices
        }
        self._open: set[Device] = set(self._load)  # those that are not full
        self._taken: dict[str, tuple[tuple[Device, ...], Fraction]] = {}

    def of(self, kind: str) -> Slots:
        """What jobs of ``kind`` may use.

        Raises:
            JobError: There are none for this kind.
        """
        found = self._slots.get(kind)
        if found is None or not found.devices:
            raise JobError(f"there are no devices for {kind} jobs; its config must set GPU_IDS")
        return found

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices, those of adopted jobs that the configs no longer name among them."""
        return tuple(self._load)

    def free_for(
        self, kind: str, *, alone: bool = False, without: Collection[Device] = ()
    ) -> tuple[tuple[Device, ...], bool]:
        """The devices that a job should take, and whether they have room for it now.

        They are the least loaded ones, the first of them when several are. If they have no room,
        the job may reserve them, so that it is not overtaken for ever by smaller ones. The tuple is
        empty if too few devices are left.

        Args:
            kind: Of the job.
            alone: Whether it must have its device to itself.
            without: Devices that others have reserved.
        """
        slots = self.of(kind)
        candidates = [device for device in slots.devices if device not in without]
        candidates.sort(key=self._load.__getitem__)  # stable: the config's order within equals
        chosen = tuple(candidates[: slots.devices_per_job])
        if len(chosen) < slots.devices_per_job:
            return (), False
        share = self.share(kind, alone=alone)
        return chosen, all(self._load[device] + share <= 1 for device in chosen)

    def any_room(self, without: Set[Device] = frozenset()) -> bool:
        """Whether any device is not full; much quicker than :meth:`free_for`.

        Args:
            without: Devices that do not count.
        """
        return not self._open <= without

    def share(self, kind: str, *, alone: bool = False) -> Fraction:
        """The part of each of its devices that a job takes."""
        slots = self.of(kind)
        return Fraction(1) if alone and not slots.chosen_by_engine else slots.share

    def load(self, device: Device) -> Fraction:
        """The part of ``device`` that is taken."""
        return self._load.get(device, Fraction(0))

    def take(self, job_key: str, devices: tuple[Device, ...], share: Fraction) -> None:
        """Put a job on devices. Room is not checked: an adopted job is where it is."""
        for device in devices:
            self._put(device, self.load(device) + share)
        self._taken[job_key] = (devices, share)

    def release(self, job_key: str) -> None:
        """The job is no longer on its devices."""
        devices, share = self._taken.pop(job_key)
        for device in devices:
            self._put(device, self._load[device] - share)

    def _put(self, device: Device, load: Fraction) -> None:
        self._load[device] = load
        if load < 1:
            self._open.add(device)
        else:
            self._open.discard(device)

    def named(self, name: str) -> Device:
        """The device of that name, or one outside the pool when the configs no longer have it."""
        for device in self._load:
            if device.name == name:
                return device
        return Device(name, "")
