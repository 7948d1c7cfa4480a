"""How well, and how fast, does a candidate's fitness in a two-tower supernet tell its quality?

Stand-alone results of architectures are the truth. Each architecture is judged with the weights of
one trained supernet

- *as released*: running statistics of batch norms are reset, and followed (momentum as it is) over
  200 training batches in training mode, dropout and graphs of gradients included; then the loss of
  the raw cosines over 40 validation batches, from the first one again where there are fewer;
- *as a search here does*, by each setting ROWS:SELECTION or ROWS:SELECTION:VALIDATION_ROWS of
  --ours: rows of the recalibration (--recalibration_rows), the metric of validation (--selection),
  and how many rows of validation, first ones, it is computed of (--score_rows,
  --score_subset=first).

    python benchmarks/autotower_fitness.py --supernet=runs/a/supernet/JOB --truth=runs/a/sampled \
        --metrics validation:loss_corrected validation:recall50

Needs a supernet job of a space such as autotower with --save_supernet_weights, and jobs of
train_sampled.py. The default metrics are of validation rows: to choose a fitness by test rows would
be selection on them, so that what a search finds by it could no longer be judged there. Metrics
such as test:recall50.paper (of jobs with --check_test_set_performance) are for a choice that was
made before.

An architecture that was trained several times has the mean of its results. Prints, for each
fitness, the median seconds of a candidate (fitnesses take turns, candidate by candidate) and
Kendall's tau-b with each metric, signed such that 1 is perfect, with 95% BCa intervals over
architectures, and the difference to the first fitness on the same resamples.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import supernets  # noqa: F401  (registers the search spaces, as the scripts do)
from dnas.cli.identity import weights_identity
from dnas.cli.score import supernet_setting
from dnas.cli.scoring import ScoringFlags, make_evaluator
from dnas.cli.supernet_files import load_supernet
from dnas.core import Architecture, ArchitectureRecord, SuperNet
from dnas.data.batch import Batch
from dnas.data.retrieval import is_ranking
from dnas.errors import ConfigError
from dnas.files import read_json, write_json
from dnas.reporting.bootstrap import Interval, bca_interval, resamples
from dnas.reporting.rank_correlation import kendall_tau_b
from dnas.runs import JobFolder
from dnas.spaces import Prepared, SearchSpace, prepared_by, supernet_of
from dnas.strategies.recalibration import batch_norms
from dnas.training.retrieval import LOSS_METRICS, UNCORRECTED
from dnas.training.seeding import seed_everything

OURS = (
    "0:loss", "0:loss_corrected", "0:recall50",
    "4096:loss_corrected", "4096:recall50", "4096:loss_corrected:8192", "4096:loss_corrected:4096",
    "16384:loss", "16384:loss_corrected", "16384:recall50",
)  # fmt: skip
RELEASED = "as released"
_BATCH = 1024
_TRAINING_BATCHES, _VALIDATION_BATCHES = 200, 40
_CPU = torch.device("cpu")

#: From an architecture to a number, lower is better.
Fitness = Callable[[Architecture], float]


@dataclass(frozen=True)
class Truth:
    """What an architecture reached when trained from scratch.

    Attributes:
        architecture: Which.
        results: "test:recall50.paper" and the like -> mean over its trainings.
    """

    architecture: Architecture
    results: Mapping[str, float]


def read_truth(folders: Sequence[Path], metrics: Sequence[str], space: str) -> list[Truth]:
    """Results of all jobs below some folders that succeeded, by architecture.

    Args:
        folders: With ``result.json`` at any depth.
        metrics: ``PART:NAME`` of the results to read.
        space: Name of the search space; architectures of others are refused.

    Raises:
        ConfigError: A job is of another space or lacks a metric, or there are less than 3
            architectures.
    """
    found: dict[str, tuple[Architecture, dict[str, list[float]]]] = {}
    for file in sorted(path for folder in folders for path in folder.rglob("result.json")):
        result = read_json(file)
        if result.get("kind") == "supernet" or result.get("status") != "succeeded":
            continue
        record = ArchitectureRecord.from_json(result["architecture"], str(file))
        if record.space != space:
            raise ConfigError(f"{file}: an architecture of {record.space}, not of {space}")
        _, values = found.setdefault(record.canonical_id, (record.architecture, {}))
        for metric in metrics:
            part, _, name = metric.partition(":")
            value = (result.get(part) or {}).get(name)
            if value is None:
                raise ConfigError(f"--metrics {metric}: {file} has no {name!r} in {part!r}")
            values.setdefault(metric, []).append(value)
    if len(found) < 3:
        raise ConfigError(f"--truth: {len(found)} architectures; a correlation needs at least 3")
    return [
        Truth(architecture, {metric: statistics.fmean(each) for metric, each in values.items()})
        for architecture, values in found.values()
    ]


def released_fitness(super_net: SuperNet, data: Prepared, seed: int) -> Fitness:
    """The released one, on a copy of ``super_net``.

    Training batches are shuffled, epoch after epoch; every candidate sees the same ones.
    """
    net = copy.deepcopy(super_net)

    def loader(split: str, size: int, *, shuffle: bool) -> Any:
        return data.loader(
            split, size, shuffle=shuffle, seed=seed, drop_last=shuffle, device=None, flag=""
        )

    train, validation = (
        loader("train", _BATCH, shuffle=True),
        loader("validation", 1, shuffle=False),
    )
    training = list(train.batches(0, _TRAINING_BATCHES))
    judging: list[Batch] = []
    for batch in validation.batches(0, len(validation)):
        if is_ranking(batch.labels):
            break
        judging.append(batch)

    def fitness(architecture: Architecture) -> float:
        torch.manual_seed(seed)  # of dropout
        sample = net.one_hot_sample(architecture)
        for norm in batch_norms(net):
            norm.reset_running_stats()
        net.train()
        for batch in training:
            net(*batch.inputs, sample=sample)
        net.eval()
        losses = []
        with torch.no_grad():
            for number in range(_VALIDATION_BATCHES):
                batch = judging[number % len(judging)]
                losses.append(float(UNCORRECTED(net(*batch.inputs, sample=sample), batch.labels)))
        return statistics.fmean(losses)

    return fitness


def our_fitness(
    space: SearchSpace, config: Any, data: Prepared, super_net: SuperNet, setting: str, seed: int
) -> Fitness:
    """What ``ROWS:SELECTION`` and ``ROWS:SELECTION:VALIDATION_ROWS`` mean in a search.

    Raises:
        ConfigError: It means nothing.
    """
    rows, selection, judging = (*setting.split(":"), "0", "")[:3]
    known = rows.isdecimal() and judging.isdecimal() and selection
    if not known or setting.count(":") not in (1, 2):
        raise ConfigError(
            f"--ours {setting!r}: give ROWS:SELECTION, such as 16384:recall50, or "
            "ROWS:SELECTION:VALIDATION_ROWS, such as 4096:loss_corrected:8192"
        )
    chosen = replace(config, selection=selection)
    flags = ScoringFlags(
        recalibration_rows=int(rows), score_rows=int(judging), score_subset="first"
    )
    evaluate = make_evaluator(space, chosen, data, flags, seed, _CPU, super_net)
    task = space.task_of(chosen)
    return lambda architecture: task.score(evaluate(architecture))


def judged(
    fitnesses: Mapping[str, Fitness],
    architectures: Sequence[Architecture],
    clock: Callable[[], float],
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Fitness of each architecture, and median seconds of one, by name of the fitness.

    Fitnesses take turns, the first one another for each architecture. What has no finite score
    counts as worse than all others.
    """
    scores: dict[str, list[float]] = {name: [] for name in fitnesses}
    seconds: dict[str, list[float]] = {name: [] for name in fitnesses}
    names = list(fitnesses)
    for number, architecture in enumerate(architectures):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started = clock()
            scores[name].append(fitnesses[name](architecture))
            seconds[name].append(clock() - started)
    for values in scores.values():
        finite = [value for value in values if math.isfinite(value)]
        worst = max(finite, default=0.0) + 1.0
        values[:] = [value if math.isfinite(value) else worst for value in values]
    return scores, {name: statistics.median(each) for name, each in seconds.items()}


def agreement(
    scores: Mapping[str, Sequence[float]], truth: Sequence[float]
) -> dict[str, tuple[Interval, Interval]]:
    """tau-b of each fitness with the truth, and what it is above that of the first fitness.

    Args:
        scores: By name; lower is better.
        truth: Lower is better.
    """
    drawn = resamples(len(truth))
    first = next(iter(scores.values()))
    found = {}
    for name, values in scores.items():
        own = bca_interval(lambda w, v=values: kendall_tau_b(v, truth, w), drawn)  # type: ignore[misc]
        above = bca_interval(
            lambda w, v=values: kendall_tau_b(v, truth, w) - kendall_tau_b(first, truth, w),  # type: ignore[misc]
            drawn,
        )
        found[name] = (own, above)
    return found


def lower_is_better(metric: str, values: Sequence[float]) -> list[float]:
    """``values`` of ``PART:NAME`` with the sign that makes lower ones better."""
    name = metric.partition(":")[2]
    return [value if name in LOSS_METRICS else -value for value in values]


def main() -> None:
    """A table for each metric, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--supernet", type=Path, required=True, help="folder of the supernet's job")
    parser.add_argument("--truth", type=Path, nargs="+", required=True, help="folders of results")
    parser.add_argument(
        "--metrics", nargs="+", default=["validation:loss_corrected", "validation:recall50"],
        help="of the truth, PART:NAME",
    )  # fmt: skip
    parser.add_argument(
        "--ours", nargs="*", default=list(OURS), help="ROWS:SELECTION[:VALIDATION_ROWS]"
    )
    parser.add_argument("--no_released", action="store_true", help="leave the released one out")
    parser.add_argument("--clock", choices=("wall", "processor"), default="wall")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write scores, seconds and truth here")
    options = parser.parse_args()
    logging.basicConfig(level="WARNING")
    seed_everything(options.seed)
    folder = JobFolder(options.supernet)
    space, settings, config, data_config = supernet_setting(folder)
    data = prepared_by(space, data_config)
    net = supernet_of(space, config, data.spec)
    of_weights = weights_identity(space, config, data)
    load_supernet(net, folder.supernet_weights, "--supernet", of_weights)
    truth = read_truth(options.truth, options.metrics, settings["search_space"])
    architectures = [net.validate(each.architecture) for each in truth]
    fitnesses: dict[str, Fitness] = {}
    if not options.no_released:
        fitnesses[RELEASED] = released_fitness(net, data, options.seed)
    for setting in options.ours:
        fitnesses[setting] = our_fitness(space, config, data, net, setting, options.seed)
    clock = time.perf_counter if options.clock == "wall" else time.process_time
    scores, seconds = judged(fitnesses, architectures, clock)
    sys.stdout.write(f"{len(truth)} architectures, {torch.get_num_threads()} threads\n")
    for metric in options.metrics:
        values = lower_is_better(metric, [each.results[metric] for each in truth])
        sys.stdout.write(f"\n{table(metric, values, scores, seconds)}")
    if options.json is not None:
        results = [
            {"id": each.architecture.id, "decisions": dict(each.architecture), **each.results}
            for each in truth
        ]
        write_json(options.json, {"truth": results, "scores": scores, "seconds": seconds})


def table(
    metric: str,
    truth: Sequence[float],
    scores: Mapping[str, Sequence[float]],
    seconds: Mapping[str, float],
) -> str:
    """In Markdown."""

    def said(interval: Interval) -> str:
        return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

    spread = float(np.std(truth))
    lines = [
        f"{metric}, standard deviation {spread:.4g}",
        "",
        "| fitness | s / candidate | tau-b | above the first |",
        "|---|---|---|---|",
    ]
    for name, (own, above) in agreement(scores, truth).items():
        lines.append(f"| {name} | {seconds[name]:.3f} | {said(own)} | {said(above)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
