"""Does an emb_card search beat simple baselines at equal embedding rows, on real clicks?

KDD Cup 2012 track 2 sample (OpenML 1220), paired random splits, a small DLRM. For each split and
each reduction of the total number of embedding rows:

- searched: one search with the rows as its target; the most likely architecture and draws;
- uniform: every feature reduced by the same factor;
- random: random architectures of the same space with the same rows;
- full: no reduction.

Every contender gets the same number of trainings (architectures, or initial weights where there is
one architecture, times learning rates); the one with the best validation loss is tested, once.
Differences of test log loss are paired by split, with Student 95 % intervals.

    python benchmarks/kdd2012_front.py --data kdd2012_click_prediction_small.csv.zst --out DIR
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from dnas.data import DataConfig, PreparedData, prepare
from dnas.files import replacing, write_json
from dnas.models import DLRM, DLRMSpec
from dnas.strategies.search_manager import SearchManager
from dnas.training.seeding import derive_seed, seed_everything
from dnas.training.standalone import StandaloneTrainer
from dnas.training.task import CLICKS
from supernets import EMB_CARD, DLRMSuperNet
from supernets.config import DLRMSpaceConfig

logger = logging.getLogger("kdd2012_front")

#: Leaves out ``impression``, which is known only together with the clicks.
SCHEMA = Path(__file__).parent.parent / "configs" / "kdd2012_schema.json"
SPACE = DLRMSpaceConfig(
    embedding_dimension=8,
    arch_mlp_bot=(32,),
    arch_mlp_top=(32,),
    cardinality_options=("1.0", "0.3", "0.1", "0.03", "0.01", "0.003", "0.001"),
)
BATCH = 256
#: Embedding rows of each feature.
Rows = tuple[int, ...]
#: Student's t, two-sided 95 %, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def made_supernet(data: PreparedData) -> DLRMSuperNet:
    """The supernet of the searches."""
    net = EMB_CARD.make_supernet(SPACE, data.spec)
    assert isinstance(net, DLRMSuperNet)
    return net


class Split:
    """One paired split with its trainings."""

    def __init__(self, data: PreparedData, settings: argparse.Namespace, split_seed: int) -> None:
        self.data = data
        self.settings = settings
        self.seed = split_seed
        self.net = made_supernet(data)
        #: The DLRM without any reduction.
        self.full = DLRMSpec(
            bottom=(len(data.spec.dense_names), *SPACE.arch_mlp_bot, SPACE.embedding_dimension),
            top=SPACE.arch_mlp_top,
            rows=data.spec.cardinalities,
            dims=(SPACE.embedding_dimension,) * len(data.spec.cardinalities),
        )

    def loader(self, part: str, *, shuffle: bool, batch_size: int | None = None) -> Any:
        size = batch_size or (BATCH if shuffle else 8192)
        return self.data.loader(part, size, shuffle=shuffle, seed=self.seed, drop_last=shuffle)

    def train(self, rows: Rows, lr: float, init: int) -> tuple[float, float]:
        """Validation and test log loss of the best epoch by validation."""
        seed_everything(derive_seed(self.seed, "init", init))
        result = StandaloneTrainer(
            DLRM(replace(self.full, rows=rows)),
            CLICKS,
            train_loader=self.loader("train", shuffle=True),
            valid_loader=self.loader("validation", shuffle=False),
            test_loader=self.loader("test", shuffle=False),
            n_epochs=self.settings.epochs,
            eval_every_epochs=0.5,
            optimizer_class=torch.optim.Adagrad,
            lr=lr,
        ).train()
        assert result.test is not None
        return float(result.validation["logloss"] or 0), float(result.test["logloss"] or 0)

    def best(self, candidates: list[Rows]) -> dict[str, Any]:
        """The best of ``trainings`` trainings by validation: its losses and rows."""
        tried = []
        for number in range(self.settings.trainings):
            rows = candidates[number % len(candidates)]
            for lr in self.settings.lrs:
                validation, test = self.train(rows, lr, number)
                tried.append((validation, test, lr, rows))
        validation, test, lr, rows = min(tried, key=lambda entry: entry[0])
        return {
            "validation": validation,
            "test": test,
            "lr": lr,
            "rows": sum(rows),
            "rows_by_feature": dict(zip(self.data.spec.sparse_names, rows, strict=True)),
            "mean_test": statistics.mean(entry[1] for entry in tried),
            "candidates": [sum(candidate) for candidate in candidates],
        }

    def search(self, target_rows: float) -> tuple[list[Rows], dict[str, float]]:
        """The most probable architectures at the target that one search gives.

        Of 2,000 draws from softmax(theta) those within 5 % of the target, by their probability.
        """
        seed_everything(derive_seed(self.seed, "supernet"))
        net = made_supernet(self.data)
        SearchManager(
            net,
            w_dataloader=self.loader("weights", shuffle=True),
            m_dataloader=self.loader("theta", shuffle=True, batch_size=self.settings.theta_batch),
            loss_function=CLICKS.loss,
            # Clicks of this sample overfit after one epoch, and so does a supernet.
            n_total_s_net_training_epochs=2,
            num_warmup_epochs="0.5",
            n_alt_train_amt="0.1",
            arch_sampling={},
            init_temp=0.2,
            temp_decay=0.15,
            w_optim_class=torch.optim.Adagrad,
            weights_initial_lrs=[self.settings.search_lr],
            mask_initial_lrs=[self.settings.theta_lr],
            cost_target={"embedding_rows": target_rows},
            seed=self.seed,
        ).train_dnas()
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "draws", target_rows))
        draws = {
            architecture.id: architecture
            for architecture in (net.sample_arch(generator=generator) for _ in range(2000))
        }
        off = {
            key: abs(math.log(net.cost(architecture)["embedding_rows"] / target_rows))
            for key, architecture in draws.items()
        }
        near = [key for key in draws if off[key] < 0.05]
        if len(near) < self.settings.trainings:
            near = sorted(draws, key=lambda key: off[key])[: self.settings.trainings]
        near.sort(key=lambda key: -net.log_probability(draws[key]))
        with torch.no_grad():
            expected = float(net.expected_cost(net.probability_sample())["embedding_rows"])
        report = {
            "expected_rows_over_target": expected / target_rows,
            "entropy": float(net.choices["emb_card"].entropy()),
        }
        chosen = near[: self.settings.trainings]
        return [net.spec(draws[key]).rows for key in chosen], report

    def random(self, target_rows: float) -> list[Rows]:
        """Random architectures with rows within 5 % of the target."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "random", target_rows))
        options = [[o for o in row if o is not None] for row in self.net.embeddings.row_options]
        found: list[Rows] = []
        for _ in range(400_000):
            picks = torch.rand(len(options), generator=generator).tolist()
            rows = tuple(row[int(u * len(row))] for row, u in zip(options, picks, strict=True))
            if abs(sum(rows) / target_rows - 1) < 0.05:
                found.append(rows)
                if len(found) == self.settings.trainings:
                    return found
        raise RuntimeError(f"only {len(found)} random architectures near {target_rows:.0f} rows")

    def uniform(self, factor: float) -> Rows:
        """Every feature reduced by the same factor."""
        return tuple(max(int(count / factor), 1) for count in self.data.spec.cardinalities)


def prepare_split(settings: argparse.Namespace, split_seed: int) -> PreparedData:
    """The data, split at random: 60 % train (half weights, half theta), 20 % each to judge."""
    return prepare(
        DataConfig(
            data_set="table",
            raw_data=settings.data,
            schema=str(SCHEMA),
            data_cache=settings.cache,
            split="random",
            split_seed=split_seed,
            train_fraction=0.6,
            weights_training_proportion=0.5,
        )
    )


def one_split(split_seed: int, settings: argparse.Namespace) -> dict[str, Any]:
    """All contenders on one split."""
    torch.set_num_threads(1)
    data = prepare_split(settings, split_seed)
    split = Split(data, settings, split_seed)
    full_rows = sum(data.spec.cardinalities)
    results: dict[str, Any] = {
        "seed": split_seed,
        "full": split.best([data.spec.cardinalities]),
        "budgets": {},
    }
    for factor in settings.factors:
        target = full_rows / factor
        searched, report = split.search(target)
        entry = {
            "searched": {**split.best(searched), **report},
            "uniform": split.best([split.uniform(factor)]),
            "random": split.best(split.random(target)),
        }
        results["budgets"][f"{factor:g}"] = entry
        sys.stderr.write(
            f"split {split_seed} /{factor:g}: full {results['full']['test']:.5f} "
            + " ".join(f"{k} {v['test']:.5f} ({v['rows']:.0f})" for k, v in entry.items())
            + "\n"
        )
    return results


def interval(differences: list[float]) -> tuple[float, float]:
    """Mean and half-width of the 95 % interval of paired differences."""
    mean = statistics.mean(differences)
    if len(differences) < 2:
        return mean, math.nan
    half = T_95[len(differences) - 1] * statistics.stdev(differences) / math.sqrt(len(differences))
    return mean, half


def table(results: list[dict[str, Any]], factors: list[float]) -> str:
    """Markdown: test losses and paired differences at each reduction."""
    full = [entry["full"]["test"] for entry in results]
    lines = [
        f"Full cardinality: test log loss {statistics.mean(full):.5f} "
        f"({results[0]['full']['rows']:.0f} rows, {len(results)} paired splits).",
        "",
        "| rows / | searched: rows / | searched | uniform | random | searched - full | "
        "searched - uniform | searched - random |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for factor in factors:
        entries = [entry["budgets"][f"{factor:g}"] for entry in results]
        tests = {
            name: [entry[name]["test"] for entry in entries]
            for name in ("searched", "uniform", "random")
        }
        reached = statistics.mean(
            result["full"]["rows"] / entry["searched"]["rows"]
            for result, entry in zip(results, entries, strict=True)
        )
        cells = [f"{factor:g}", f"{reached:.1f}"]
        cells += [f"{statistics.mean(values):.5f}" for values in tests.values()]
        for other in (full, tests["uniform"], tests["random"]):
            pairs = zip(tests["searched"], other, strict=True)
            mean, half = interval([mine - theirs for mine, theirs in pairs])
            cells.append(f"{mean:+.5f} ± {half:.5f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(results: list[dict[str, Any]], factors: list[float], path: Path) -> None:
    """The fronts: loss above the full model against rows, with paired 95 % intervals."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    full = [entry["full"]["test"] for entry in results]
    full_rows = results[0]["full"]["rows"]
    for shift, name in ((0.96, "searched"), (1.0, "uniform"), (1.04, "random")):
        points = []
        for factor in factors:
            entries = [entry["budgets"][f"{factor:g}"][name] for entry in results]
            pairs = zip(entries, full, strict=True)
            mean, half = interval([entry["test"] - base for entry, base in pairs])
            rows = statistics.mean(entry["rows"] for entry in entries)
            points.append((shift * rows, mean, half))
        x, y, half_widths = zip(*points, strict=True)
        axes.errorbar(x, y, half_widths, label=name, marker="o", capsize=3)
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.plot(full_rows, 0.0, "k*", markersize=10, label="full")
    axes.set_xscale("log")
    ticks = [full_rows / factor for factor in (1, *factors)]
    axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("embedding rows")
    axes.set_ylabel("test log loss above the full model")
    axes.set_title("KDD Cup 2012 sample, 5 paired splits, 95 % intervals")
    axes.grid(alpha=0.3)
    axes.legend()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def main() -> None:
    """Run all splits and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", required=True, help="kdd2012_click_prediction_small.csv.zst")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and the table")
    parser.add_argument("--cache", default="data_cache", help="folder of built data stores")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--factors", type=float, nargs="+", default=[3, 10, 30, 100])
    parser.add_argument("--trainings", type=int, default=4, help="of each contender, times lrs")
    parser.add_argument("--lrs", type=float, nargs="+", default=[0.02, 0.05])
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--search_lr", type=float, default=0.01)
    parser.add_argument("--theta_lr", type=float, default=0.05)
    parser.add_argument("--theta_batch", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(level="WARNING")
    with ProcessPoolExecutor(settings.workers) as pool:
        jobs = [pool.submit(one_split, seed, settings) for seed in settings.seeds]
        results = [job.result() for job in jobs]
    write_json(settings.out / "results.json", results)
    text = table(results, settings.factors)
    draw(results, settings.factors, settings.out / "front.png")
    (settings.out / "table.md").write_text(text, encoding="utf-8")
    shown = {k: v for k, v in vars(settings).items() if k not in ("data", "out", "cache")}
    sys.stdout.write(json.dumps(shown, default=str) + "\n" + text)


if __name__ == "__main__":
    main()
