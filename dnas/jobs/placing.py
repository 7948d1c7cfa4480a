"""Which queued jobs start now, and where."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

from dnas.jobs.job import KINDS, Job
from dnas.jobs.slots import Device, SlotPool


def place(
    queues: Mapping[str, deque[Job]],
    slots: SlotPool,
    why_not_now: Callable[[Job, Sequence[Job]], str],
) -> tuple[list[tuple[Job, tuple[Device, ...]]], str]:
    """Take jobs out of the queues for which there is room, and put them on their devices.

    Supernets first, first come first served. A job that finds no room reserves the emptiest devices
    that it may use, so that it is not overtaken for ever by smaller jobs.

    Args:
        queues: The waiting jobs of each kind.
        slots: The devices.
        why_not_now: Gets a job for which there is room, and those that were chosen before it; gives
            why it may not start all the same, or ``""``.

    Returns:
        The jobs with their devices, in order, and why others wait though there was room.
    """
    reserved: set[Device] = set()
    chosen: list[tuple[Job, tuple[Device, ...]]] = []
    for kind in KINDS:
        queue, position = queues[kind], 0
        # Mostly no device has room, and then the queue need not be looked at.
        while position < len(queue) and slots.any_room(reserved):
            job = queue[position]
            found, has_room = slots.free_for(kind, alone=job.alone, without=reserved)
            if not found:
                break
            if not has_room:
                reserved.update(found)
                position += 1
                continue
            if reason := why_not_now(job, [before for before, _ in chosen]):
                return chosen, reason
            del queue[position]
            slots.take(job.spec.identity, found, slots.share(kind, alone=job.alone))
            chosen.append((job, found))
    return chosen, ""
