"""Why a search on the KDD Cup 2012 sample can or cannot beat simple baselines.

Two measurements on the splits and models of ``kdd2012_front.py``:

- *ablation*: test loss when one feature alone keeps a tenth or a thousandth of its rows, against
  full cardinality, paired by split. It says how much there is to find.
- *proxy*: Kendall's tau between the loss of random architectures with the supernet's shared weights
  and their loss when trained alone (both on the validation set), for several temperatures of the
  supernet's training. It says how much of it a supernet can see.

    python benchmarks/kdd2012_proxy.py --data kdd2012_click_prediction_small.csv.zst --json FILE
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from typing import Any

import torch
from kdd2012_front import Rows, Split, interval, made_supernet, prepare_split

from dnas.core import Architecture
from dnas.files import write_json
from dnas.strategies.search_manager import SearchManager
from dnas.training.evaluate import evaluate
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.task import CLICKS
from supernets import DLRMSuperNet

LR = 0.05


def kendall_tau(a: list[float], b: list[float]) -> float:
    """Kendall's tau-a: concordant minus discordant pairs, over all pairs."""
    pairs = list(combinations(range(len(a)), 2))
    return sum(math.copysign(1, (a[i] - a[j]) * (b[i] - b[j])) for i, j in pairs) / len(pairs)


def ablation(split: Split) -> dict[str, float]:
    """Feature and factor -> change of test loss, mean of two initialisations."""
    counts = split.data.spec.cardinalities

    def loss(rows: Rows) -> float:
        return statistics.mean(split.train(rows, LR, init)[1] for init in (0, 1))

    full = loss(counts)
    changes = {}
    for position, name in enumerate(split.data.spec.sparse_names):
        for factor in (10, 1000):
            rows = list(counts)
            rows[position] = max(rows[position] // factor, 1)
            changes[f"{name} / {factor}"] = loss(tuple(rows)) - full
    return changes


def shared_loss(split: Split, net: DLRMSuperNet, architecture: Architecture) -> float:
    """Validation log loss of an architecture with the supernet's weights."""
    sample = net.one_hot_sample(architecture)
    metrics = evaluate(
        net,
        lambda batch, share: net(*batch.inputs, sample=sample),
        split.loader("validation", shuffle=False),
        CLICKS.metrics(),
        torch.device("cpu"),
    )
    return float(metrics["logloss"] or 0)


def proxy(split: Split, temperatures: list[float], architectures: int) -> dict[str, float]:
    """Temperature -> Kendall's tau of shared against own weights."""
    generator = torch.Generator().manual_seed(derive_seed(split.seed, "proxy"))
    chosen = [split.net.random_architecture(generator) for _ in range(architectures)]
    own = [split.train(split.net.spec(choice).rows, LR, 0)[0] for choice in chosen]
    result = {}
    for tau in temperatures:
        seed_everything(derive_seed(split.seed, "supernet"))
        net = made_supernet(split.data)
        SearchManager(
            net,
            w_dataloader=split.loader("train", shuffle=True),
            m_dataloader=split.loader("theta", shuffle=True),
            loss_function=CLICKS.loss,
            n_total_s_net_training_epochs="2.1",
            num_warmup_epochs="2",
            n_alt_train_amt="0.1",
            arch_sampling={},
            init_temp=tau,
            min_temp=tau,
            w_optim_class=torch.optim.Adagrad,
            weights_initial_lrs=[0.02],
            mask_initial_lrs=[0.0],
            seed=split.seed,
        ).train_dnas()
        shared = [shared_loss(split, net, choice) for choice in chosen]
        result[f"{tau:g}"] = kendall_tau(shared, own)
    return result


def one_split(seed: int, settings: argparse.Namespace) -> dict[str, Any]:
    """Both measurements on one split."""
    torch.set_num_threads(1)
    split = Split(prepare_split(settings, seed), settings, seed)
    return {
        "seed": seed,
        "proxy": proxy(split, settings.temperatures, settings.architectures),
        "ablation": ablation(split),
    }


def main() -> None:
    """All splits."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", required=True, help="kdd2012_click_prediction_small.csv.zst")
    parser.add_argument("--cache", default="data_cache", help="folder of built data stores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 0.5, 0.1])
    parser.add_argument("--architectures", type=int, default=20)
    parser.add_argument("--epochs", type=float, default=1.5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json")
    settings = parser.parse_args()
    logging.basicConfig(level="WARNING")
    with ProcessPoolExecutor(settings.workers) as pool:
        jobs = [pool.submit(one_split, seed, settings) for seed in settings.seeds]
        results = [job.result() for job in jobs]
    for part, unit in (("ablation", "change of test log loss"), ("proxy", "Kendall's tau")):
        sys.stdout.write(f"\n| {part} | {unit}, mean ± 95 % |\n|---|---|\n")
        for key in results[0][part]:
            mean, half = interval([entry[part][key] for entry in results])
            sys.stdout.write(f"| {key} | {mean:+.5f} ± {half:.5f} |\n")
    if settings.json:
        write_json(settings.json, results)


if __name__ == "__main__":
    main()
