"""What Ray knows of jobs that wait and of jobs that are gone, in words for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

#: Ray counts resources in units of 1/10000.
_UNITS = 10_000


def needs(num_gpus: float, num_cpus: float) -> dict[str, float]:
    """Resource -> how much of it, as Ray names and counts it.

    Rounded down, for Ray rounds to the nearest: six jobs of 1/6 must find room on one GPU.
    """
    return {"GPU": math.floor(num_gpus * _UNITS + 1e-6) / _UNITS, "CPU": float(num_cpus)}


def why_waiting(
    wanted: Mapping[str, float], nodes: Sequence[Mapping[str, float]], free: Mapping[str, float]
) -> str:
    """Why a job has not started.

    Args:
        wanted: Resource -> how much of it the job needs.
        nodes: What each node has, used or not.
        free: What is not used, in all.
    """
    shown = " and ".join(_amount(name, much) for name, much in wanted.items() if much)
    for name, much in wanted.items():
        largest = max((node.get(name, 0.0) for node in nodes), default=0.0)
        if much > largest:
            return (
                f"needs {_amount(name, much)}, the largest node of the Ray cluster has "
                f"{largest:g}: it cannot start before a larger node joins"
            )
    if not any(all(node.get(n, 0.0) >= much for n, much in wanted.items()) for node in nodes):
        return (
            f"needs {shown}, and no node of the Ray cluster has both: it cannot start before a "
            "larger node joins"
        )
    for name, much in wanted.items():
        if much > free.get(name, 0.0):
            total = sum(node.get(name, 0.0) for node in nodes)
            return f"no free {name} in the Ray cluster ({free.get(name, 0.0):g} of {total:g} free)"
    return "for Ray to start it"


def why_gone(error: str, log: object) -> str:
    """Why an actor is gone whose supervisor left no word.

    Args:
        error: What Ray's exception says; empty if there was none.
        log: The job's log, to be named.
    """
    if not error or "killed by `ray.kill`" in error:  # as it does itself
        return f"its supervisor ended without a word; {log} may say why"
    if "creation task" in error:
        last = error.strip().splitlines()[-1]
        return (
            f"its supervisor could not be started ({last}); every node of the Ray cluster must "
            "see the run folder, the project and the Python interpreter under the same paths"
        )
    # A general sentence, then details of the actor, each after a tab, then the cause.
    lines = [line for line in error.splitlines() if line.strip() and not line.startswith("\t")]
    return f"Ray says: {first_sentence(lines[min(1, len(lines) - 1)])}"


def first_sentence(text: str) -> str:
    """The first sentence of a message of many, on one line."""
    return " ".join(text.split()).split(". ")[0].rstrip(".")[:300]


def _amount(name: str, much: float) -> str:
    return f"{much:g} {name}{'' if much == 1 else 's'}"
