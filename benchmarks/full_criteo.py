"""Does an emb_card search train at Criteo's full size, in memory and at the speed of small tables?

The 26 cardinalities of Criteo's Kaggle data (33.8M ids), dimension 32, four options: 37.5M rows,
4.8 GB of weights. For each optimizer a process of its own builds that supernet, takes steps, and
notes its peak resident memory, everything included, as a multiple of the weights. Then it takes
more of them, in turns with steps of a supernet with tables of 20,000 rows.

    python benchmarks/full_criteo.py --json FILE
    python benchmarks/full_criteo.py --rows 1000000 --optimizers sgd
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from step_cases import Shape, SupernetSteps, interleaved, make_batches, median_ratio, steady

from dnas.files import write_json
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.training.allocator import keep_freed_memory

#: Distinct values of each categorical column of the Kaggle data, in column order.
CRITEO_KAGGLE = (
    1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194, 27, 14992,
    5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572,
)  # fmt: skip


def measure(settings: argparse.Namespace, optimizer: str) -> dict[str, float]:
    """Steps of both sizes in this process."""
    torch.set_num_threads(settings.threads)
    keep_freed_memory()
    small = Shape(
        batch=settings.batch,
        rows=20_000,
        optimizer=optimizer,
        device=settings.device,
        precision=settings.precision,
        step_mode=settings.step_mode,
    )
    full = replace(small, rows=settings.rows or CRITEO_KAGGLE)
    begun = time.perf_counter()
    search = SupernetSteps("emb_card", full, make_batches(full))
    built = time.perf_counter() - begun
    for kind in (WEIGHTS, THETA):
        interleaved({kind: partial(search.begin, kind)}, 3, settings.device)
    peak = (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        if settings.device == "cpu"
        else torch.cuda.max_memory_allocated()
    )
    reference = SupernetSteps("emb_card", small, make_batches(small))
    taken = interleaved(
        {
            "full": lambda: search.begin(WEIGHTS),
            "small": lambda: reference.begin(WEIGHTS),
            "full_theta": lambda: search.begin(THETA),
            "small_theta": lambda: reference.begin(THETA),
        },
        settings.repeats,
        settings.device,
    )
    steps = settings.repeats if settings.device == "cpu" else 500
    weights = sum(p.numel() * p.element_size() for p in search.manager.super_net.parameters())
    return {
        "weights_gb": weights / 1e9,
        "peak_gb": peak / 1e9,
        "peak_over_weights": peak / weights,
        "full_ms": statistics.median(taken["full"]),
        "small_ms": statistics.median(taken["small"]),
        "step_ratio": median_ratio(taken, "full", "small"),
        "theta_ratio": median_ratio(taken, "full_theta", "small_theta"),
        "samples_per_s": settings.batch / steady(search.begin(WEIGHTS), steps, settings.device),
        "samples_per_s_theta": settings.batch / steady(search.begin(THETA), steps, settings.device),
        "seconds_to_build": built,
    }


def main() -> None:
    """The table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--optimizers", default="sgd,adagrad,rowwise_adagrad")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("--step_mode", default="eager", help="or, on a GPU, cuda_graph")
    parser.add_argument("--rows", type=int, help="ids of every feature, instead of Criteo's")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the optimizer, in a process of its own
    settings = parser.parse_args()
    logging.basicConfig(level="ERROR")
    if settings.one:
        sys.stdout.write(json.dumps(measure(settings, settings.one)))
        return
    sys.stdout.write(
        "| optimizer | weights GB | peak / weights | step / step of 20k rows | theta step | ms "
        "| samples/s |\n|---|---|---|---|---|---|---|\n"
    )
    results = {}
    for optimizer in settings.optimizers.split(","):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", optimizer]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"the process of {optimizer} ended with {done.returncode}")
        found = results[optimizer] = json.loads(done.stdout)
        sys.stdout.write(
            "| {} | {weights_gb:.2f} | {peak_over_weights:.3f} | {step_ratio:.3f} "
            "| {theta_ratio:.3f} | {full_ms:.0f} | {samples_per_s:.0f} |\n".format(
                optimizer, **found
            )
        )
        sys.stdout.flush()
    if settings.json is not None:
        write_json(settings.json, results)


if __name__ == "__main__":
    main()
