"""Does the sum of measured operators tell what a model takes, and better than FLOPs do?

For each space, the operators of the supernet and random architectures, built whole, are measured in
the same rounds. Printed are the sums against the wholes, their rank correlation and error, and the
rank correlation of FLOPs and of parameters with the measured times. Ids are uniform.

    python benchmarks/latency_prediction.py --spaces mlp,emb_dim --rows 128 --threads 1 \\
        --architectures 20 --min_seconds 1 --rounds 10 --json FILE
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import torch
from step_cases import SPACES, Shape, make_batches

from dnas.cli.architectures import different_networks
from dnas.cli.profiling import Effort, Models, check_table, check_text, measure_into
from dnas.core import UniformPrior
from dnas.costs import Conditions, CostTable
from dnas.files import write_json
from dnas.reporting.rank_correlation import kendall_tau_b
from dnas.training.allocator import keep_freed_memory
from dnas.training.seeding import seed_everything
from supernets.config import DLRMSpaceConfig


def measure(
    name: str, shape: Shape, conditions: Conditions, count: int, effort: Effort
) -> dict[str, Any]:
    """Numbers of one space: the table, its check, and correlations of counted costs."""
    seed_everything(1)
    space = SPACES[name]
    super_net = space.make_supernet(shape.config, shape.spec)
    table, models = CostTable(conditions), Models()
    batches = [batch.inputs for batch in make_batches(shape, 16)]
    drawn = different_networks(
        super_net, UniformPrior(super_net), count, torch.Generator().manual_seed(1), fewer=True
    )
    for architecture in drawn:
        models.add(
            architecture,
            lambda a=architecture: space.make_model(shape.config, shape.spec, a),  # type: ignore[misc]
            batches,
            table,
        )
    share = measure_into(table, super_net.operators(), models, effort)
    check = table.check = check_table(table, super_net, models)
    measured = [point["measured"] for point in check["points"]]
    counted = [super_net.cost(models.architectures[p["architecture"]]) for p in check["points"]]
    return {
        "table": table.to_json(),
        "processor_share": share,
        "counted": {
            cost: float(kendall_tau_b([costs[cost] for costs in counted], measured))
            for cost in ("flops", "params")
        },
    }


def main() -> None:
    """One part for each space."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--spaces", default="mlp,emb_dim", help="comma-separated")
    parser.add_argument("--rows", type=int, default=128, help="of a batch")
    parser.add_argument("--table_rows", type=int, default=20_000, help="of every feature's table")
    parser.add_argument("--features", type=int, default=26)
    parser.add_argument("--hidden", default="1024,1024,1024", help="widths of MLPs not searched")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clock", default="wall", help="or, on a busy machine, processor")
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--min_seconds", type=float, default=1.0, help="of each, over all rounds")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    settings = parser.parse_args()
    spaces = settings.spaces.split(",")
    unknown = sorted(set(spaces) - set(SPACES))
    if unknown:
        parser.error(f"--spaces: unknown {unknown}; there are {', '.join(SPACES)}")
    logging.basicConfig(level="INFO")
    torch.set_num_threads(settings.threads)
    keep_freed_memory()  # as every job does
    hidden = tuple(map(int, settings.hidden.split(",")))
    shape = Shape(
        batch=settings.rows,
        rows=settings.table_rows,
        features=settings.features,
        config=DLRMSpaceConfig(id_skew=0.0, arch_mlp_bot=hidden, arch_mlp_top=hidden),
    )
    conditions = Conditions.here(
        settings.device, rows=settings.rows, threads=settings.threads, clock=settings.clock
    )
    effort = Effort(rounds=settings.rounds, min_seconds=settings.min_seconds)
    results = {}
    for name in spaces:
        found = measure(name, shape, conditions, settings.architectures, effort)
        results[name] = found
        taus = ", ".join(f"{cost} {tau:.3f}" for cost, tau in found["counted"].items())
        sys.stdout.write(
            f"## {name}: {len(found['table']['entries'])} operators, "
            f"{100 * found['processor_share']:.0f} % of the time on a processor\n\n"
            f"{check_text(found['table']['check'])}rank correlation of counted costs: {taus}\n\n"
        )
        sys.stdout.flush()
        if settings.json is not None:
            write_json(settings.json, results)


if __name__ == "__main__":
    main()
