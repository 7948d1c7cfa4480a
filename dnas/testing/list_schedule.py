"""Greedy list scheduling, for comparison: how long the jobs of an experiment take in queue order.

It shares no code with the queue. The next job in order goes to the devices that have room for it;
if too few have, some are kept for it: those that will have it first, or, for a scheduler that does
not know when running jobs will end, the emptiest. A job that ran out of memory goes to the back and
takes whole devices from then on.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import inf, lcm

from dnas.errors import EXIT_OUT_OF_MEMORY, EXIT_PREEMPTED
from dnas.jobs.slots import Slots
from dnas.runs import SAMPLED, SUPERNET
from dnas.testing.simulation import Fate

#: Exit codes after which a job is tried again, and how often at most.
_AGAIN = {EXIT_OUT_OF_MEMORY: 2, EXIT_PREEMPTED: 100, -9: 10}


@dataclass(eq=False)
class _Request:
    name: str
    kind: str
    attempt: int
    memory_errors: int


def list_schedule(
    names: Iterable[str],
    slots: Mapping[str, Slots],
    kind_of: Callable[[str], str],
    fate: Callable[[str, int], Fate],
    followers: Callable[[str], Iterable[str]],
    *,
    knows_ends: bool,
) -> float:
    """Seconds until the last job has ended.

    Args:
        names: The first jobs, in order.
        slots: For each kind of job, what it may use.
        kind_of: Name of a job -> its kind.
        fate: Name and number of the attempt -> its length and exit code.
        followers: Name of a job that succeeded -> the jobs that it brings.
        knows_ends: Whether it is known when running jobs will end, as it never is.
    """
    whole = lcm(*(found.jobs_per_device for found in slots.values()))
    waiting: dict[str, list[_Request]] = {SUPERNET: [], SAMPLED: []}
    names_of = {kind: [device.name for device in found.devices] for kind, found in slots.items()}
    every = sorted({name for found in names_of.values() for name in found})
    on: dict[str, list[tuple[float, int]]] = {name: [] for name in every}  # (end, parts) of jobs
    free = dict.fromkeys(every, whole)
    ends: list[tuple[float, int, _Request]] = []
    now, number = 0.0, 0

    def bring(names: Iterable[str]) -> None:
        for name in names:
            waiting[kind_of(name)].append(_Request(name, kind_of(name), 1, 0))

    def free_from(device: str, parts: int) -> float:
        """When ``parts`` of ``device`` are free, if nothing more is started there."""
        left, when = free[device], now
        if left < parts and not knows_ends:
            return inf
        for end, taken in sorted(on[device]):
            if left >= parts:
                break
            left, when = left + taken, end
        return when

    bring(names)
    while any(waiting.values()) or ends:
        kept: set[str] = set()
        for kind, queue in waiting.items():
            still: list[_Request] = []
            for position, request in enumerate(queue):
                usable = [name for name in names_of[kind] if name not in kept]
                short = len(usable) < slots[kind].devices_per_job
                if short or not any(free[name] for name in usable):
                    still += queue[position:]
                    break
                parts = whole if request.memory_errors else whole // slots[kind].jobs_per_device
                times = {name: free_from(name, parts) for name in usable}
                # Of those that are free alike, the emptiest.
                best = sorted(usable, key=lambda name: (times[name], -free[name]))
                best = best[: slots[kind].devices_per_job]
                if times[best[-1]] > now:
                    kept.update(best)
                    still.append(request)
                    continue
                number += 1
                end = now + fate(request.name, request.attempt).seconds
                for name in best:
                    on[name].append((end, parts))
                    free[name] -= parts
                heapq.heappush(ends, (end, number, request))
            waiting[kind] = still
        now = ends[0][0]
        while ends and ends[0][0] <= now:
            _, _, request = heapq.heappop(ends)
            code = fate(request.name, request.attempt).exit_code
            if code == 0:
                bring(followers(request.name))
            elif request.attempt <= _AGAIN.get(code, 0):
                errors = request.memory_errors + (code == EXIT_OUT_OF_MEMORY)
                again = _Request(request.name, request.kind, request.attempt + 1, errors)
                waiting[request.kind].append(again)
        for name in every:
            on[name] = [(end, parts) for end, parts in on[name] if end > now]
            free[name] = whole - sum(parts for _, parts in on[name])
    return now
