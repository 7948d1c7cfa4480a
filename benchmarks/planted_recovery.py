"""Does a search find an optimum that is known, and does it beat random search at equal compute?

Synthetic clicks with a planted optimum (``dnas.data.synthetic``): the rows each feature's table
needs (emb_card), or the rank each feature's embedding needs (emb_dim). For each seed:

- one search; its most likely architecture against the plan, decision by decision;
- random search: random architectures of the space, each trained alone for an epoch, until as many
  seconds have passed as the search took; the best by the search's own objective,
  validation log loss + coefficient x log(cost);
- both results trained from scratch in the same way, and compared in that objective.

    python benchmarks/planted_recovery.py --json recovery.json
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import torch

from dnas.core import Architecture
from dnas.data import DataConfig, PreparedData, planted, prepare
from dnas.files import write_json
from dnas.spaces import SearchSpace
from dnas.strategies.search_manager import SearchManager
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.standalone import StandaloneTrainer
from dnas.training.task import CLICKS
from supernets import EMB_CARD, EMB_DIM
from supernets.config import DLRMSpaceConfig

BATCH = 1024


@dataclass(frozen=True)
class Setting:
    """A planted problem and how it is searched."""

    space: SearchSpace
    kind: str
    config: DLRMSpaceConfig
    lr: float
    theta_lr: float
    total_epochs: str
    warmup_epochs: str
    cost_coef: float = 0.01


SETTINGS = {
    "emb_card": Setting(
        EMB_CARD,
        "cardinality",
        DLRMSpaceConfig(
            embedding_dimension=4, arch_mlp_bot=(), arch_mlp_top=(), arch_interaction_op="cat"
        ),
        lr=0.05,
        theta_lr=0.05,
        total_epochs="4",
        warmup_epochs="1",
    ),
    "emb_dim": Setting(
        EMB_DIM,
        "rank",
        DLRMSpaceConfig(dim_options=(2, 4, 8, 16), arch_mlp_bot=(), arch_mlp_top=()),
        lr=0.1,
        theta_lr=0.1,
        total_epochs="6",
        warmup_epochs="3",
    ),
}


class Problem:
    """One planted data set."""

    def __init__(self, setting: Setting, seed: int, rows: int, cache: str) -> None:
        self.setting, self.seed = setting, seed
        config = DataConfig(
            data_set="synthetic",
            synthetic_kind=setting.kind,  # type: ignore[arg-type]
            synthetic_rows=rows,
            synthetic_seed=seed,
            data_cache=cache,
        )
        self.data: PreparedData = prepare(config)
        self.planted = planted(config)
        self.net = setting.space.make_supernet(setting.config, self.data.spec)

    def loader(self, split: str) -> Any:
        return self.data.loader(split, BATCH, shuffle=True, seed=self.seed, drop_last=True)

    def search(self, weights_sampling: str) -> tuple[Architecture, float]:
        """The most likely architecture and the seconds it took."""
        seed_everything(derive_seed(self.seed, "search"))
        net = self.setting.space.make_supernet(self.setting.config, self.data.spec)
        started = time.monotonic()
        SearchManager(
            net,
            w_dataloader=self.loader("weights"),
            m_dataloader=self.loader("theta"),
            loss_function=CLICKS.loss,
            n_total_s_net_training_epochs=self.setting.total_epochs,
            num_warmup_epochs=self.setting.warmup_epochs,
            n_alt_train_amt="0.25",
            temp_decay=0.3,
            w_optim_class=torch.optim.Adagrad,
            weights_initial_lrs=[self.setting.lr],
            mask_initial_lrs=[self.setting.theta_lr],
            use_hw_cost=True,
            cost_coef=self.setting.cost_coef,
            cost_metric=self.setting.space.default_cost,
            weights_sampling=weights_sampling,
            seed=self.seed,
            log_every_steps=200,
        ).train_dnas()
        return net.sample_arch(most_likely=True), time.monotonic() - started

    def objective(self, architecture: Architecture, epochs: float) -> dict[str, float]:
        """Log loss, cost and their sum after training alone."""
        seed_everything(derive_seed(self.seed, "init"))
        model = self.setting.space.make_model(self.setting.config, self.data.spec, architecture)
        result = StandaloneTrainer(
            model,
            CLICKS,
            train_loader=self.loader("train"),
            valid_loader=self.data.loader(
                "validation", 8192, shuffle=False, seed=0, drop_last=False
            ),
            n_epochs=epochs,
            optimizer_class=torch.optim.Adagrad,
            lr=self.setting.lr,
        ).train()
        loss = float(result.validation["logloss"] or math.inf)
        cost = self.net.cost(architecture)[self.setting.space.default_cost]
        return {
            "logloss": loss,
            "cost": cost,
            "objective": loss + self.setting.cost_coef * math.log(cost),
        }

    def random_search(self, seconds: float) -> tuple[Architecture, int]:
        """Best of the random architectures that can be trained in ``seconds``, and how many."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "random"))
        started = time.monotonic()
        tried: list[tuple[float, Architecture]] = []
        while time.monotonic() - started < seconds or not tried:
            architecture = self.net.random_architecture(generator)
            tried.append((self.objective(architecture, 1.0)["objective"], architecture))
        return min(tried, key=lambda entry: entry[0])[1], len(tried)

    def steps_off(self, architecture: Architecture) -> list[int]:
        """For each feature, by how many options it misses the plan."""
        choice = self.net.choices[self.setting.space.name]
        return [
            abs(row.index(architecture[key]) - row.index(needed))
            for key, row, needed in zip(
                choice.keys, choice.options, self.planted.needed, strict=True
            )
        ]


def share(values: list[int], at_most: int) -> float:
    """Share of decisions that are off by ``at_most`` options or fewer."""
    return sum(value <= at_most for value in values) / len(values)


def run(name: str, seed: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """One seed of one problem."""
    problem = Problem(SETTINGS[name], seed, arguments.rows, arguments.cache)
    found, seconds = problem.search(arguments.weights_sampling)
    rival, tried = problem.random_search(seconds)
    line: dict[str, Any] = {
        "space": name,
        "seed": seed,
        "search_seconds": round(seconds, 1),
        "random_trainings": tried,
        "bayes_logloss": problem.planted.bayes_log_loss,
    }
    for who, architecture in (("search", found), ("random", rival)):
        off = problem.steps_off(architecture)
        line[who] = {
            "exact": share(off, 0),
            "within_one": share(off, 1),
            **problem.objective(architecture, 3.0),
        }
    sys.stdout.write(
        f"{name} seed {seed}: {seconds:.0f} s, exact {line['search']['exact']:.0%}, within one "
        f"{line['search']['within_one']:.0%}, objective {line['search']['objective']:.4f}; random "
        f"search ({tried} trainings): {line['random']['exact']:.0%}, "
        f"{line['random']['within_one']:.0%}, {line['random']['objective']:.4f}\n"
    )
    sys.stdout.flush()
    return line


def main() -> None:
    """All seeds of all problems."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--spaces", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--weights_sampling", choices=("soft", "hard"), default="soft")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", default="data_cache", help="folder of built data stores")
    parser.add_argument("--json", help="also write all figures to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    logging.basicConfig(level="WARNING")
    lines = [run(name, seed, arguments) for name in arguments.spaces for seed in arguments.seeds]
    for name in arguments.spaces:
        own = [line["search"] for line in lines if line["space"] == name]
        sys.stdout.write(
            f"{name}: mean exact {statistics.mean(o['exact'] for o in own):.1%}, mean within one "
            f"{statistics.mean(o['within_one'] for o in own):.1%}\n"
        )
    if arguments.json:
        write_json(arguments.json, lines)


if __name__ == "__main__":
    main()
