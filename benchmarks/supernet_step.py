"""What does a step of a supernet cost, as a multiple of a step of the plain model?

Whole steps: forward, loss with cost, backward, clipping, optimizer, bookkeeping; the data is on the
device. The plain model is the discrete DLRM of the largest architecture of the space, trained with
the same optimizer on the same batches. Supernet and plain steps take turns in one process; ratios
are medians over pairs of neighbours.

    python benchmarks/supernet_step.py --spaces emb_dim,emb_card,mlp,joint --batch 1024 \\
        --rows 20000 --threads 1 --json FILE
"""

from __future__ import annotations

import argparse
import gc
import logging
import statistics
import sys
from pathlib import Path

import torch
from step_cases import (
    SPACES,
    PlainSteps,
    Shape,
    SupernetSteps,
    interleaved,
    make_batches,
    median_ratio,
    operator_calls,
)

from dnas.files import write_json
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.training.allocator import keep_freed_memory


def measure(space: str, shape: Shape, repeats: int) -> dict[str, float]:
    """Ratios, milliseconds and operator calls of one space."""
    batches = make_batches(shape)
    search = SupernetSteps(space, shape, batches)
    plain = PlainSteps(space, shape, batches)
    taken = interleaved(
        {
            "plain": plain.begin,
            "weights": lambda: search.begin(WEIGHTS),
            "theta": lambda: search.begin(THETA),
        },
        repeats,
        shape.device,
    )
    calls = {
        "": operator_calls(search.begin(WEIGHTS)),
        "_theta": operator_calls(search.begin(THETA)),
        "_plain": operator_calls(plain.begin()),
    }
    return {
        "ratio": median_ratio(taken, "weights", "plain"),
        "ratio_theta": median_ratio(taken, "theta", "plain"),
        "plain_ms": statistics.median(taken["plain"]),
        "weights_ms": statistics.median(taken["weights"]),
        "theta_ms": statistics.median(taken["theta"]),
        **{f"operator_calls{kind}": counted for kind, (counted, _) in calls.items()},
        **{f"nested_operator_calls{kind}": nested for kind, (_, nested) in calls.items()},
    }


def main() -> None:
    """The table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--spaces", default=",".join(SPACES), help="comma-separated")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--rows", type=int, default=20_000, help="of every feature's table")
    parser.add_argument("--optimizer", default="sgd")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15, help="steps of each kind that count")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32", help="or bfloat16")
    parser.add_argument("--step_mode", default="eager", help="or, on a GPU, cuda_graph")
    parser.add_argument("--no_kept_memory", action="store_true", help="see training/allocator.py")
    parser.add_argument("--weights_sampling", default="soft", help="or hard")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    settings = parser.parse_args()
    spaces = settings.spaces.split(",")
    unknown = sorted(set(spaces) - set(SPACES))
    if unknown:
        parser.error(f"--spaces: unknown {unknown}; there are {', '.join(SPACES)}")
    logging.basicConfig(level="ERROR")
    torch.set_num_threads(settings.threads)
    if not settings.no_kept_memory:
        keep_freed_memory()  # as every job does
    shape = Shape(
        batch=settings.batch,
        rows=settings.rows,
        optimizer=settings.optimizer,
        device=settings.device,
        precision=settings.precision,
        step_mode=settings.step_mode,
        search=(("weights_sampling", settings.weights_sampling),),
    )
    sys.stdout.write(
        "| space | weights / plain | theta / plain | plain ms | weights ms | theta ms | calls "
        "weights | theta | plain |\n|---|---|---|---|---|---|---|---|---|\n"
    )
    results = {}
    for space in spaces:
        found = results[space] = measure(space, shape, settings.repeats)
        gc.collect()
        sys.stdout.write(
            "| {} | {ratio:.3f} | {ratio_theta:.3f} | {plain_ms:.1f} | {weights_ms:.1f} "
            "| {theta_ms:.1f} | {operator_calls} | {operator_calls_theta} "
            "| {operator_calls_plain} |\n".format(space, **found)
        )
        sys.stdout.flush()
    if settings.json is not None:
        write_json(settings.json, results)


if __name__ == "__main__":
    main()
