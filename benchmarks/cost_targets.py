"""Do sampled architectures cost what was asked for?

Short searches on synthetic clicks with a target in each space: the ratio of the expected cost to
the target by dual ascent alone, after the last shift of theta, and in 20 sampled architectures.

    python benchmarks/cost_targets.py
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

import torch

from dnas.data import DataConfig, prepare
from dnas.spaces import SearchSpace
from dnas.strategies.calibration import meet_targets
from dnas.strategies.search_manager import SearchManager
from dnas.training.seeding import seed_everything
from dnas.training.task import CLICKS
from supernets import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS
from supernets.config import DLRMSpaceConfig

CONFIG = DLRMSpaceConfig(
    embedding_dimension=8,
    arch_mlp_bot=(16,),
    arch_mlp_top=(16,),
    dim_options=(1, 2, 4, 8, 16),
    mlp_size_options=(8, 16, 32, 64),
    mlp_bottom_layers=3,
    mlp_top_layers=3,
)
PROBLEMS: list[tuple[SearchSpace, str, tuple[float, ...]]] = [
    (EMB_CARD, "embedding_rows", (300, 1500, 6000)),
    (EMB_DIM, "embedding_params", (20_000, 80_000)),
    (TOP_BOTTOM_MLPS, "flops", (6_000, 20_000)),
    (JOINT, "params", (20_000, 60_000)),
]


def run(data: Any, space: SearchSpace, metric: str, target: float) -> str:
    """One search; a row of the table."""
    seed_everything(1)
    net = space.make_supernet(CONFIG, data.spec)

    def loader(split: str, batch_size: int) -> Any:
        return data.loader(split, batch_size, shuffle=True, seed=1, drop_last=True)

    SearchManager(
        net,
        w_dataloader=loader("weights", 512),
        m_dataloader=loader("theta", 64),
        loss_function=CLICKS.loss,
        n_total_s_net_training_epochs=6,
        num_warmup_epochs=1,
        n_alt_train_amt="0.25",
        temp_decay=0.3,
        w_optim_class=torch.optim.Adagrad,
        weights_initial_lrs=[0.05],
        mask_initial_lrs=[0.05],
        cost_target={metric: target},
        arch_sampling={},
    ).train_dnas()
    with torch.no_grad():
        trained = float(net.expected_cost(net.probability_sample())[metric]) / target
    shifted = meet_targets(net, {metric: target})[metric]
    generator = torch.Generator().manual_seed(1)
    drawn = [net.cost(net.sample_arch(generator=generator))[metric] / target for _ in range(20)]
    return (
        f"| {space.name} | {metric} | {target:,g} | {trained:.3f} | {shifted:.3f} "
        f"| {sum(drawn) / len(drawn):.3f} |\n"
    )


def main() -> None:
    """The table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--cache", default="data_cache", help="folder of built data stores")
    settings = parser.parse_args()
    logging.basicConfig(level="ERROR")
    data = prepare(
        DataConfig(
            synthetic_rows=60_000,
            synthetic_features=12,
            synthetic_values=1000,
            data_cache=settings.cache,
        )
    )
    sys.stdout.write(
        "| space | cost | target | dual ascent alone | after the shift | mean of 20 draws |\n"
        "|---|---|---|---|---|---|\n"
    )
    for space, metric, targets in PROBLEMS:
        for target in targets:
            sys.stdout.write(run(data, space, metric, target))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
