"""Devices and how full they are.

A job of a kind whose config says ``NUM_JOBS_PER_GPU:n`` takes 1/n of a device, and the jobs on a
device never take more than the whole, whatever kinds they are of. So two configs can share GPUs
without putting more on one than either of them allows.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def id_inside_job(self) -> str:
        """What ``GPU_ID_PARAM`` becomes: 0, the one visible GPU, or ``cpu``."""
        return "0" if self.visible else "cpu"


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


class SlotPool:
    """Which jobs are on which devices.

    Args:
        slots: For each kind of job, the devices it may use and how many such jobs share one.
    """

    def __init__(self, slots: Mapping[str, tuple[Sequence[Device], int]]) -> None:
        self._devices = {kind: tuple(found) for kind, (found, _) in slots.items()}
        self._share = {kind: Fraction(1, count) for kind, (_, count) in slots.items()}
        self._load: dict[Device, Fraction] = {
            device: Fraction(0) for found in self._devices.values() for device in found
        }
        self._taken: dict[str, tuple[Device, Fraction]] = {}

    def devices(self, kind: str) -> tuple[Device, ...]:
        """Devices that jobs of ``kind`` may use, in the config's order.

        Raises:
            JobError: There are none for this kind.
        """
        if not self._devices.get(kind):
            raise JobError(f"there are no devices for {kind} jobs; its config must set GPU_IDS")
        return self._devices[kind]

    def per_device(self, kind: str) -> int:
        """How many jobs of ``kind`` share a device."""
        return int(1 / self._share[kind])

    def num_slots(self, kind: str) -> int:
        """How many jobs of ``kind`` can run at once when they have the devices to themselves."""
        return len(self.devices(kind)) * self.per_device(kind)

    def share(self, kind: str, alone: bool) -> Fraction:
        """The part of a device that a job takes: 1/n, or all of it if it must be ``alone``."""
        return Fraction(1) if alone else self._share[kind]

    def emptiest(self, candidates: Iterable[Device]) -> Device:
        """The least loaded of ``candidates``, the first of them when several are."""
        return min(candidates, key=self._load.__getitem__)

    def has_room(self, device: Device, share: Fraction) -> bool:
        """Whether ``share`` of ``device`` is free."""
        return self._load[device] + share <= 1

    def load(self, device: Device) -> Fraction:
        """The part of ``device`` that is taken."""
        return self._load.get(device, Fraction(0))

    def take(self, job_key: str, device: Device, share: Fraction) -> None:
        """Put a job on a device. Room is not checked: an adopted job is where it is."""
        self._load[device] = self.load(device) + share
        self._taken[job_key] = (device, share)

    def release(self, job_key: str) -> None:
        """The job is no longer on its device."""
        device, share = self._taken.pop(job_key)
        self._load[device] -= share

    def named(self, name: str | None) -> Device:
        """The device of that name, or one outside the pool when the configs no longer have it."""
        for device in self._load:
            if device.name == name:
                return device
        return Device(name or "unknown", "")
