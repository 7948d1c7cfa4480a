"""What hand-crafted two-tower models reach, under the published protocol and two honest ones.

GoogleDNN, SENET, BST or MIND with several seeds, trained as AutoTower's baselines are (batches of
1024, Adam 1e-3, weight decay 1e-6, clipping at 5, at most 100 epochs, patience 5), and what needs
no training: popularity and a random order. The split is the same for all seeds.

    python benchmarks/two_tower_baselines.py --raw_data=../shared/data/ml-100k
    python benchmarks/two_tower_baselines.py --raw_data=../shared/data/ml-100k --selection=loss \
        --renew_optimizer

The first selects the epoch by the loss of training; the second is as released, but for the norms of
the batch's embeddings in the loss (times 1e-5). Two minutes a seed of GoogleDNN-L on one core.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.data.retrieval import (
    TEST_PROTOCOLS,
    RetrievalData,
    RetrievalDataConfig,
    prepare_retrieval,
)
from dnas.models.towers.norms import NORM_KINDS
from dnas.training.evaluate import evaluate
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.standalone import StandaloneTrainer
from supernets import TOWER_BASELINES, TowerBaselinesConfig

SHOWN = ("recall50", "ndcg50_hits", "ndcg50")
_USERS = 4096
_CPU = torch.device("cpu")

#: Metric with the protocol's suffix -> value.
Metrics = Mapping[str, float | None]


class Popularity(nn.Module):
    """The same vector for every user; an item's only coordinate is how often train has it."""

    counts: Tensor

    def __init__(self, data: RetrievalData) -> None:
        super().__init__()
        counts = torch.from_numpy(data.train_counts).double()
        self.register_buffer("counts", counts / counts.max())

    def forward(self, users: Tensor, history: Tensor, items: Tensor, bags: Tensor) -> Tensor:
        """``(U + N, 1)``."""
        return torch.cat((self.counts.new_ones(len(users)), self.counts[items[:, 0]])).unsqueeze(1)


class RandomOrder(nn.Module):
    """Random unit vectors of users and items."""

    def __init__(self, data: RetrievalData, dim: int = 64) -> None:
        super().__init__()
        self.users = nn.Embedding(data.spec.num_users + 1, dim)
        self.items = nn.Embedding(data.spec.num_items + 1, dim)

    def forward(self, users: Tensor, history: Tensor, items: Tensor, bags: Tensor) -> Tensor:
        """``(U + N, dim)``."""
        vectors = torch.cat((self.users(users[:, 0]), self.items(items[:, 0])))
        return F.normalize(vectors, dim=1)


def tested(model: nn.Module, data: RetrievalData) -> Metrics:
    """Metrics of the test part."""
    loader = data.loader("test", _USERS, shuffle=False, seed=0, drop_last=False)
    metrics = TOWER_BASELINES.task.metrics()
    return evaluate(model, lambda batch, share: model(*batch.inputs), loader, metrics, _CPU)


def trained(
    kind: str,
    config: TowerBaselinesConfig,
    data: RetrievalData,
    seed: int,
    *,
    renew_optimizer: bool,
) -> Metrics:
    """Metrics of the test part, of the epoch that validation selects."""
    seed_everything(seed)
    super_net = TOWER_BASELINES.make_supernet(config, data.spec)
    trainer = StandaloneTrainer(
        super_net.build(super_net.validate({"model/kind": kind})),
        TOWER_BASELINES.task_of(config),
        train_loader=data.loader(
            "train",
            1024,
            shuffle=True,
            seed=derive_seed(seed, "train", "order"),
            drop_last=True,
        ),
        valid_loader=data.loader("validation", _USERS, shuffle=False, seed=0, drop_last=False),
        test_loader=data.loader("test", _USERS, shuffle=False, seed=0, drop_last=False),
        n_epochs=100,
        patience=5,
        optimizer_class=torch.optim.Adam,
        lr=1e-3,
        weight_decay=1e-6,
        clip_grad_norm_value=5.0,
        renew_optimizer=renew_optimizer,
    )
    result = trainer.train()
    assert result.test is not None
    logging.info("%s, seed %d: best epoch %g, %s", kind, seed, result.best_epoch, result.test)
    return result.test


def rows(name: str, runs: Sequence[Metrics]) -> str:
    """A row of the table for each protocol: means in percent, and standard deviations."""
    lines = []
    for protocol in TEST_PROTOCOLS:
        cells = []
        for metric in SHOWN:
            values = [100 * (run[f"{metric}{protocol.suffix}"] or 0.0) for run in runs]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        lines.append(f"| {name} | {protocol.name.lower()} | {' | '.join(cells)} |\n")
    return "".join(lines)


def main() -> None:
    """The table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data_set", default="ml_100k")
    parser.add_argument("--raw_data", help="folder of the publisher's files")
    parser.add_argument("--data_cache", default="data_cache")
    parser.add_argument("--models", nargs="*", default=["googlednn_l"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--selection", default="loss_corrected", help="validation metric of the best epoch"
    )
    parser.add_argument(
        "--dense_norm",
        choices=NORM_KINDS,
        default="none",
        help="in hidden layers; the published sizes have batch",
    )
    parser.add_argument("--renew_optimizer", action="store_true", help="every epoch, as released")
    flags = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    data = prepare_retrieval(
        RetrievalDataConfig(
            data_set=flags.data_set, raw_data=flags.raw_data, data_cache=flags.data_cache
        )
    )
    config = TowerBaselinesConfig(selection=flags.selection, dense_norm=flags.dense_norm)
    sys.stdout.write(
        "| model | protocol | R@50 | N@50, ideal from the hits | N@50 |\n|---|---|---|---|---|\n"
    )
    for kind in flags.models:
        runs = [
            trained(kind, config, data, seed, renew_optimizer=flags.renew_optimizer)
            for seed in range(1, flags.seeds + 1)
        ]
        sys.stdout.write(rows(kind, runs))
        sys.stdout.flush()
    sys.stdout.write(rows("popularity", [tested(Popularity(data), data)]))
    seed_everything(1)
    sys.stdout.write(rows("random order", [tested(RandomOrder(data), data)]))


if __name__ == "__main__":
    main()
