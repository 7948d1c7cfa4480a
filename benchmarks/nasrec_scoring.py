"""How long does it take to score candidates of a NASRec supernet, and what takes it?

NASRec-Full, 13 numbers and 26 categories, generated rows; the last layer of every candidate is
fine-tuned for 500 steps of 256 rows. First some candidates in this process, with the parts timed;
then all of them in several processes, as a search does it. The weights are as initialised: time
does not depend on them.

    python benchmarks/nasrec_scoring.py --candidates 500 --rows 50000 --processes 2 --json FILE
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from dnas.cli.scoring import ScoringFlags, make_evaluator, open_evaluations
from dnas.data import DataConfig
from dnas.files import write_json
from dnas.strategies import evaluator as evaluators
from dnas.training.allocator import keep_freed_memory
from supernets import NASREC_FULL
from supernets.nasrec import NASRecConfig


def main() -> None:
    """Two tables, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument(
        "--rows", type=int, default=50_000, help="that every candidate is judged by"
    )
    parser.add_argument(
        "--finetune_rows", type=int, default=25_600, help="that 500 steps cycle over"
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--timed", type=int, default=20, help="candidates whose parts are timed")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    settings = parser.parse_args()
    logging.basicConfig(level="ERROR")
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as cache:
        figures = measure(settings, cache)
    rows = "".join(f"| {name} | {value:.3f} |\n" for name, value in figures.items())
    sys.stdout.write(f"| what | seconds |\n|---|---|\n{rows}")
    if settings.json is not None:
        write_json(settings.json, figures)


def measure(settings: argparse.Namespace, cache: str) -> dict[str, float]:
    """Seconds by name."""
    # A third of the rows each for training, validation and test.
    data_config = DataConfig(
        synthetic_rows=3 * settings.rows, train_fraction=1 / 3, data_cache=cache
    )
    data = NASREC_FULL.prepare(data_config)
    config = NASRecConfig()
    torch.manual_seed(0)
    net = NASREC_FULL.make_supernet(config, data.spec)
    prior, generator = NASREC_FULL.prior(config, net), torch.Generator().manual_seed(1)
    candidates = [prior.candidate(generator) for _ in range(settings.candidates)]
    device = torch.device("cpu")
    flags = ScoringFlags(finetune_rows=settings.finetune_rows, eval_processes=settings.processes)
    figures = parts(
        make_evaluator(NASREC_FULL, config, data, flags, 1, device, net),
        candidates[: settings.timed],
    )
    started = time.perf_counter()
    with open_evaluations(
        NASREC_FULL, config, data_config, data, flags, net, seed=1, device=device
    ) as evaluate:
        first = None
        for _ in evaluate(candidates):
            first = first or time.perf_counter() - started
    total = time.perf_counter() - started
    assert first is not None
    return {
        **figures,
        f"first of {len(candidates)} candidates, {settings.processes} processes": first,
        f"all {len(candidates)} candidates": total,
        "for each": total / len(candidates),
    }


def parts(evaluator: evaluators.SharedWeightsEvaluator, candidates: list[Any]) -> dict[str, float]:
    """Median seconds of one candidate: features, fine-tuning, and the rest, which is scoring."""
    taken: dict[str, list[float]] = {"features": [], "fine-tuning": [], "all": []}

    def timed(name, work):  # type: ignore[no-untyped-def]
        def run(*arguments):  # type: ignore[no-untyped-def]
            started = time.perf_counter()
            result = work(*arguments)
            taken[name].append(time.perf_counter() - started)
            return result

        return run

    tune, evaluators.fine_tune_head = (
        evaluators.fine_tune_head,
        timed("fine-tuning", evaluators.fine_tune_head),
    )
    evaluator._features = timed("features", evaluator._features)  # type: ignore[method-assign]
    try:
        for candidate in candidates:
            timed("all", evaluator)(candidate)
    finally:
        evaluators.fine_tune_head = tune
    medians = {name: statistics.median(values) for name, values in taken.items()}
    rows = sum(len(batch.labels) for batch in evaluator.tuning_batches)
    return {
        f"features of {rows} rows": medians["features"],
        "fine-tuning": medians["fine-tuning"],
        "scoring and metrics": medians["all"] - medians["features"] - medians["fine-tuning"],
        "a candidate, median": medians["all"],
    }


if __name__ == "__main__":
    main()
