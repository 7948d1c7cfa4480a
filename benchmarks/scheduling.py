"""How well does the queue use its devices, and what does scheduling cost?

The real manager in virtual time (``dnas.testing.simulation``): thousands of jobs with heavy-tailed
durations, some of which run out of memory, crash, are preempted or are killed. For each layout of
devices and each seed: the time until all has ended, against greedy list scheduling
(``dnas.testing.list_schedule``) with what the queue knows and with foreknowledge of all ends, and
against what no schedule can beat; how much of the devices' time is used; how long jobs wait; the
manager's time of the processor for each attempt. Medians over seeds, and the worst seed. Everything
but the processor's time is the same in every run.

    python benchmarks/scheduling.py --json scheduling.json
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.files import write_json
from dnas.runs import SAMPLED, SUPERNET, RunFolder
from dnas.testing.workloads import Distribution, Workload, gpus, simulate

#: Where there is one, a file system in memory: the disk is not the question.
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Kind:
    """How jobs of a kind use devices."""

    jobs_per_gpu: int = 1
    gpus_per_job: int = 1

    def __str__(self) -> str:
        if self.gpus_per_job > 1:
            return f"{self.gpus_per_job} GPUs each"
        return f"{self.jobs_per_gpu} on a GPU" if self.jobs_per_gpu > 1 else "a GPU each"


#: Supernets and sampled jobs.
LAYOUTS = [
    (Kind(), Kind()),
    (Kind(jobs_per_gpu=2), Kind(jobs_per_gpu=4)),
    (Kind(gpus_per_job=4), Kind()),
    (Kind(gpus_per_job=2), Kind(jobs_per_gpu=3)),
    (Kind(), Kind(gpus_per_job=2)),
]


def one(
    num_gpus: int, layout: tuple[Kind, Kind], distribution: Distribution, jobs: int, seed: int
) -> dict[str, float]:
    """One experiment."""
    supernet, sampled = layout
    workload = Workload(
        slots={
            kind: gpus(
                range(num_gpus),
                jobs_per_device=found.jobs_per_gpu,
                devices_per_job=found.gpus_per_job,
            )
            for kind, found in ((SUPERNET, supernet), (SAMPLED, sampled))
        },
        num_supernets=num_gpus,
        sampled_each=max(1, jobs // num_gpus - 1),
        distribution=distribution,
        seed=seed,
    )
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        found = simulate(workload, RunFolder(Path(folder) / "run"))
    return {
        "attempts": len(found.spans),
        "utilisation": found.utilisation,
        "to_list_schedule": found.makespan_s / found.list_schedule_s,
        "to_clairvoyant": found.makespan_s / found.clairvoyant_s,
        "to_lower_bound": found.makespan_s / found.lower_bound_s,
        "mean_wait_s": found.mean_wait_s,
        "cpu_ms": found.cpu_ms,
    }


def main() -> None:
    """Parse, simulate, print."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--jobs", type=int, default=3000, help="of an experiment, about")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", help="file for the numbers")
    settings = parser.parse_args()
    # Lines are made, as in a real run, but go nowhere.
    logger = logging.getLogger("dnas")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.FileHandler(os.devnull))
    sys.stdout.write(
        "| GPUs | supernets | sampled | durations | attempts | utilisation | makespan / list "
        "schedule (worst) | / clairvoyant (worst) | / lower bound | mean wait s "
        "| CPU ms an attempt |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|\n"
    )
    rows: list[dict[str, Any]] = []
    distributions: tuple[Distribution, ...] = ("lognormal", "pareto")
    for num_gpus in settings.gpus:
        for layout in LAYOUTS:
            for distribution in distributions:
                found = [
                    one(num_gpus, layout, distribution, settings.jobs, seed)
                    for seed in settings.seeds
                ]
                row = {name: statistics.median(f[name] for f in found) for name in found[0]}
                worst = {
                    f"worst_{name}": max(f[name] for f in found)
                    for name in ("to_list_schedule", "to_clairvoyant")
                }
                where = {"gpus": num_gpus, "layout": list(map(str, layout))}
                rows.append({**where, "durations": distribution, **row, **worst})
                sys.stdout.write(
                    f"| {num_gpus} | {layout[0]} | {layout[1]} | {distribution} "
                    f"| {row['attempts']:.0f} | {row['utilisation']:.3f} "
                    f"| {row['to_list_schedule']:.4f} ({worst['worst_to_list_schedule']:.4f}) "
                    f"| {row['to_clairvoyant']:.4f} ({worst['worst_to_clairvoyant']:.4f}) "
                    f"| {row['to_lower_bound']:.3f} | {row['mean_wait_s']:.0f} "
                    f"| {row['cpu_ms']:.2f} |\n"
                )
                sys.stdout.flush()
    if settings.json:
        write_json(settings.json, rows)


if __name__ == "__main__":
    main()
