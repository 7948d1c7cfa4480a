"""NASRec against published models, random search and random choice, on real data.

    python benchmarks/nasrec_real_data.py --data FOLDER --runs_dir runs --out OUT

For each data set, all through the job queue (``configs/nasrec_*``):

- searches: evolution in the small and the full space, random search in the full one with as many
  evaluations; the best 15 of each are trained, the best by validation is trained with full tables
  from five new seeds and tested;
- baselines: DLRM, DeepFM, AutoInt+ and xDeepFM, 15 sizes of each, the best of each by validation
  trained and tested with the same five seeds;
- random choice: 15 architectures of the full space, drawn and not searched, in the same way.

All with the same learning rates (two on KDD Cup 2012, one elsewhere), epochs and batch, so
validation chooses from the same number of trainings for every contender. Of the two learning rates
of final trainings, the one with the lower mean validation loss over the seeds counts.

Runs that ended are not repeated; ``--tables_only`` starts none. OUT gets ``nasrec_real.json`` (all
figures), ``nasrec_real.csv`` (each final training), ``nasrec_real_table.md`` and two pictures.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from kdd2012_front import interval
from kdd2012_proxy import kendall_tau
from matplotlib.figure import Figure
from row_losses import mean_losses, row_half_width

from dnas.errors import JobError
from dnas.files import read_json, replacing, write_json
from dnas.reporting.complexity import FLOPS_PER_MMAC
from dnas.reporting.frames import of_stage, results_frame
from dnas.runs import FINAL, SAMPLED, SUPERNET, RunFolder

ROOT = Path(__file__).resolve().parent.parent
#: Name of the configs -> file they need.
DATA = {
    "kdd2012": "kdd2012_click_prediction_small.csv.zst",
    "adult": None,
    "criteo_day0": "criteo_1tb_day0_10k.tsv.zst",
}
#: Contender -> what the braces of the search config are narrowed to.
SEARCHES = {
    "small_evolution": ("evolution", "nasrec_small"),
    "full_evolution": ("evolution", "nasrec_full"),
    "full_random_search": ("random_search", "nasrec_full"),
}
BASELINES = ("dlrm", "deepfm", "autoint", "xdeepfm")
NAMES = {
    "small_evolution": "NASRec-Small, evolution",
    "full_evolution": "NASRec-Full, evolution",
    "full_random_search": "NASRec-Full, random search",
    "random": "NASRec-Full, 15 at random",
    "dlrm": "DLRM",
    "deepfm": "DeepFM",
    "autoint": "AutoInt+",
    "xdeepfm": "xDeepFM",
}
#: Pairs of which the difference says what a part of the search is worth.
CONTESTS = (
    ("full_evolution", "full_random_search"),
    ("full_evolution", "random"),
    ("full_random_search", "random"),
    ("small_evolution", "full_evolution"),
)
#: Final trainings of each contender.
SEEDS = 5
#: Brace settings that say which training of one contender a final job is.
_LR, _SEED = "setting.lr", "setting.seed"


class Runs:
    """Starts the runs of one data set; a run that has ended is started again at no cost."""

    def __init__(self, data: str, work: Path, runs_dir: Path) -> None:
        self.data = data
        self.work = work
        self.runs_dir = runs_dir

    def folder(self, name: str) -> RunFolder:
        """The run folder of one contender or of a group of them."""
        return RunFolder(self.runs_dir / f"nasrec_{self.data}_{name}")

    def all(self) -> int:
        """Run everything; returns how many commands failed."""
        codes = [self._given("baselines_grid"), self._given("random_grid"), self._best()]
        codes += [self._search(contender) for contender in SEARCHES]
        return sum(code != 0 for code in codes)

    def _config(self, name: str) -> Path:
        return Path("configs") / f"nasrec_{self.data}_{name}"

    def _run(self, *words: str | Path) -> int:
        command = [sys.executable, *map(str, words)]
        code = subprocess.run(command, cwd=self.work, stderr=subprocess.DEVNULL).returncode
        sys.stdout.write(f"{' '.join(map(str, words[1:]))}: exit code {code}\n")
        sys.stdout.flush()
        return code

    def _search(self, contender: str) -> int:
        narrowed = self.work / f"nasrec_{self.data}_{contender}_search"
        text = (self.work / self._config("search")).read_text(encoding="utf-8")
        algorithm, space = SEARCHES[contender]
        text = re.sub(r"(--search_algorithm=)\{.*?\}", rf"\g<1>{algorithm}", text)
        text = re.sub(r"(--search_space=)\{.*?\}", rf"\g<1>{space}", text)
        narrowed.write_text(text, encoding="utf-8")
        return self._run(
            *(ROOT / "run_dnas_pipeline.py", narrowed),
            *(self._config("sampled_search"), self._config("final_search")),
            *("--experiment_id", self.folder(contender).path.name),
            *("--runs_dir", self.runs_dir),
        )

    def _given(self, grid: str) -> int:
        """Write the architectures that a config's first line says, then train them."""
        config = self._config(grid)
        first = (self.work / config).read_text(encoding="utf-8").splitlines()[0]
        words = first.split("First: dnas ")[1].split(";")[0].split()
        if not (self.work / words[-1]).exists():
            code = self._run("-m", "dnas.cli.main", *words)
            if code:
                return code
        return self._tune(config, grid)

    def _best(self) -> int:
        """Train and test the best of each model by validation, and of the random ones."""
        best = self.work / f"nasrec_{self.data}_best"
        best.mkdir(exist_ok=True)
        for name in (*BASELINES, "random"):
            shutil.copy(self.work / self.chosen(name), best / f"{name}.json")
        return self._tune(self._config("given_best"), "given_best")

    def _tune(self, config: Path, name: str) -> int:
        experiment = self.folder(name).path.name
        return self._run(ROOT / "tuning.py", config, experiment, "--runs_dir", self.runs_dir)

    def trainings(self, contender: str) -> pd.DataFrame:
        """The trainings that validation chose from."""
        frame = of_stage(results_frame(self.folder(_run_of(contender))), SAMPLED)
        if contender in BASELINES:
            frame = frame[_given_names(frame) == contender]
        return frame

    def chosen(self, contender: str) -> str:
        """File of a given architecture with the lowest validation loss, from the work folder."""
        trained = self.trainings(contender)
        job = trained.sort_values("validation_logloss")["job"].iloc[0]
        folder = next(
            f for f in self.folder(_run_of(contender)).jobs(SAMPLED) if f.path.name == job
        )
        return str(read_json(folder.config)["sampled_arch"])

    def finals(self, contender: str) -> pd.DataFrame:
        """The five final trainings, with the learning rate that validation prefers; by seed."""
        searched = contender in SEARCHES
        frame = results_frame(self.folder(contender if searched else "given_best"))
        frame = of_stage(frame, FINAL) if searched else frame[_given_names(frame) == contender]
        if _LR not in frame:  # the config has one rate
            words = (ROOT / self._config("final_search")).read_text(encoding="utf-8").split()
            rate = next(word for word in words if word.startswith("--lr=")).split("=")[1]
            return frame.assign(**{_LR: float(rate)}).sort_values(_SEED)
        lr = frame.groupby(_LR)["validation_logloss"].mean().idxmin()
        return frame[frame[_LR] == lr].sort_values(_SEED)

    def row_losses(self, contender: str, final: pd.DataFrame) -> np.ndarray:
        """Loss of each test row, the mean over the final trainings."""
        run = self.folder(contender if contender in SEARCHES else "given_best")
        kind = FINAL if contender in SEARCHES else SAMPLED
        jobs = [job for job in run.jobs(kind) if job.path.name in set(final["job"])]
        return mean_losses(jobs, self.work)

    def search_seconds(self, contender: str) -> float | None:
        """Wall time of the search job; None without a search."""
        if contender not in SEARCHES:
            return None
        (job,) = self.folder(contender).jobs(SUPERNET)
        return float(read_json(job.result)["seconds"])


def _run_of(contender: str) -> str:
    """The run of which validation chose a contender's architecture."""
    if contender in SEARCHES:
        return contender
    return "random_grid" if contender == "random" else "baselines_grid"


def _given_names(frame: pd.DataFrame) -> pd.Series:
    """Model of each row whose architecture file is ``FOLDER/MODEL.json`` or ``MODEL+....json``."""
    return frame["setting.sampled_arch"].map(lambda file: Path(file).stem.split("+")[0])


def _score_tau(trained: pd.DataFrame) -> float | None:
    """Kendall's tau of the score with shared weights and the stand-alone loss; None: no scores."""
    if "search_score" not in trained or trained["search_score"].isna().any():
        return None
    best = trained.groupby("canonical_id")[["search_score", "validation_logloss"]].min()
    return kendall_tau(best["search_score"].tolist(), best["validation_logloss"].tolist())


def measure(runs: Runs) -> list[dict[str, Any]]:
    """Every contender of one data set, its final trainings and their differences.

    The baseline that others are compared with is the best one by mean *validation* loss of its
    final trainings, so that it too is chosen without the test rows. Differences come with two
    half-widths of 95 %: over seeds (Student, pairs), and over test rows (of the seeds' mean loss).
    """
    rows = []
    losses = {}
    for contender, name in NAMES.items():
        try:
            trained, final = runs.trainings(contender), runs.finals(contender)
        except (JobError, KeyError):  # no run folder, or no job that has ended
            final = pd.DataFrame()
        if len(final) < SEEDS:
            sys.stdout.write(f"{runs.data}, {contender}: not all final trainings, left out\n")
            continue
        losses[contender] = runs.row_losses(contender, final)
        rows.append(
            {
                "data": runs.data,
                "contender": contender,
                "name": name,
                "trainings": len(trained),
                "best_validation": float(trained["validation_logloss"].min()),
                "mean_validation": float(trained["validation_logloss"].mean()),
                "lr": float(final[_LR].iloc[0]),
                "seeds": [int(seed) for seed in final[_SEED]],
                **{
                    column: [float(value) for value in final[column]]
                    for column in ("validation_logloss", "test_logloss", "test_auc")
                },
                "mmacs": float(final["flops"].iloc[0]) / FLOPS_PER_MMAC,
                "params": int(final["params"].iloc[0]),
                "embedding_params": int(final["cost.embedding_params"].iloc[0]),
                "search_seconds": runs.search_seconds(contender),
                "score_tau": _score_tau(trained),
                "training_seconds": float(trained["seconds"].sum()),
                "decisions": final["canonical_id"].iloc[0],
            }
        )
    if not any(row["contender"] in BASELINES for row in rows):
        return []
    best = min(
        (row for row in rows if row["contender"] in BASELINES),
        key=lambda row: statistics.mean(row["validation_logloss"]),
    )
    for row in rows:
        row["compared_with"] = best["contender"]
        row["test_rows"] = len(losses[row["contender"]])
        row["differences"] = {
            other["contender"]: _differences(row, other, losses)
            for other in rows
            if other is not row
        }
    return rows


def _differences(
    row: dict[str, Any], other: dict[str, Any], losses: dict[str, np.ndarray]
) -> dict[str, float]:
    """Mean differences of two contenders' tests, with half-widths over seeds and over rows."""
    if row["seeds"] != other["seeds"]:
        raise ValueError(f"{row['contender']}, {other['contender']}: other seeds, nothing to pair")
    mine, theirs = losses[row["contender"]], losses[other["contender"]]
    result = {"test_logloss_rows_half_width": row_half_width(mine, theirs)}
    for column in ("test_logloss", "test_auc"):
        pairs = zip(row[column], other[column], strict=True)
        mean, half = interval([one - two for one, two in pairs])
        result[column], result[f"{column}_half_width"] = mean, half
    return result


def long_form(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One row for each final training."""
    columns = ["seeds", "validation_logloss", "test_logloss", "test_auc"]
    fixed = ["data", "contender", "trainings", "lr", "mmacs", "params", "embedding_params"]
    frame = pd.DataFrame(rows)[[*fixed, *columns]]
    return frame.explode(columns, ignore_index=True).rename(columns={"seeds": "seed"})


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, one table for each data set."""
    lines = []
    for data in dict.fromkeys(row["data"] for row in rows):
        mine = [row for row in rows if row["data"] == data]
        against = NAMES[mine[0]["compared_with"]]
        lines += [
            f"### {data}",
            "",
            f"| model | trainings | lr | validation log loss | test log loss | test AUC | MMACs | "
            f"parameters | log loss - {against} (over rows) | AUC - {against} | search |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in mine:
            seconds = row["search_seconds"]
            found = row["differences"].get(row["compared_with"])
            cells = [
                row["name"],
                str(row["trainings"]),
                f"{row['lr']:g}",
                _mean(row["validation_logloss"]),
                _mean(row["test_logloss"]),
                _mean(row["test_auc"]),
                f"{row['mmacs']:.4f}",
                f"{row['params']:,}",
                "" if found is None else _log_loss(found),
                "" if found is None else _auc(found),
                "" if seconds is None else f"{seconds:.0f} s",
            ]
            lines.append("| " + " | ".join(cells) + " |")
        lines += ["", "| difference of two | log loss (over rows) | AUC |", "|---|---|---|"]
        for contender, other in CONTESTS:
            ours = [row for row in mine if row["contender"] == contender]
            for row in (row for row in ours if other in row["differences"]):
                found = row["differences"][other]
                name = f"{NAMES[contender]} - {NAMES[other]}"
                lines.append(f"| {name} | {_log_loss(found)} | {_auc(found)} |")
        lines.append("")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.5f} ± {statistics.stdev(values):.5f}"


def _log_loss(found: dict[str, float]) -> str:
    rows = found["test_logloss_rows_half_width"]
    return f"{found['test_logloss']:+.5f} ± {found['test_logloss_half_width']:.5f} (± {rows:.5f})"


def _auc(found: dict[str, float]) -> str:
    return f"{found['test_auc']:+.5f} ± {found['test_auc_half_width']:.5f}"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Test log loss of each final training against the multiply-accumulates of its model."""
    names = list(dict.fromkeys(row["data"] for row in rows))
    figure = Figure(figsize=(5 * len(names), 4.5), layout="constrained")
    for axes, data in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for row in (row for row in rows if row["data"] == data):
            searched = row["contender"] in SEARCHES
            axes.errorbar(
                row["mmacs"],
                statistics.mean(row["test_logloss"]),
                statistics.stdev(row["test_logloss"]),
                marker="o" if searched else "^" if row["contender"] == "random" else "s",
                capsize=3,
                label=row["name"],
            )
        axes.set_xscale("log")
        axes.set_xlabel("multiply-accumulates of a row, millions")
        axes.set_title(data)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("test log loss, mean ± s.d. of 5 seeds")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    """With one legend below all plots."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = 4 if len(figure.axes) > 1 else 2
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


def draw_distribution(all_runs: list[Runs], path: Path) -> None:
    """Cumulative distribution of the validation loss of all trainings, best learning rate each."""
    figure = Figure(figsize=(5 * len(all_runs), 4.5), layout="constrained")
    for axes, runs in zip(
        figure.subplots(1, len(all_runs), squeeze=False)[0], all_runs, strict=True
    ):
        for contender, name in NAMES.items():
            if not runs.folder(_run_of(contender)).path.exists():
                continue
            frame = runs.trainings(contender)
            losses = sorted(frame.groupby("canonical_id")["validation_logloss"].min())
            steps = [(place + 1) / len(losses) for place in range(len(losses))]
            style = "-" if contender in SEARCHES else ":" if contender in BASELINES else "--"
            axes.step(losses, steps, style, where="post", label=name)
        axes.set_xlabel("validation log loss")
        axes.set_title(runs.data)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of the 15 architectures")
    _save(figure, path)


def main() -> int:
    """Run everything; the exit code is the number of commands that failed."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--data", type=Path, required=True, help="folder with the raw files")
    parser.add_argument("--runs_dir", type=Path, required=True, help="folder of run folders")
    parser.add_argument("--out", type=Path, required=True, help="folder for tables and pictures")
    parser.add_argument("--sets", nargs="+", choices=tuple(DATA), default=list(DATA))
    parser.add_argument("--tables_only", action="store_true", help="start nothing")
    settings = parser.parse_args()
    settings.out.mkdir(parents=True, exist_ok=True)
    runs_dir = settings.runs_dir.resolve()
    # The configs name data files and the schema relative to the working folder.
    work = runs_dir / "work"
    work.mkdir(parents=True, exist_ok=True)
    failed = 0
    measured = []
    rows: list[dict[str, Any]] = []
    for data in settings.sets:
        needed = DATA[data]
        if needed and not (settings.data / needed).exists():
            sys.stdout.write(f"{data}: {needed} is not in {settings.data}, left out\n")
            continue
        for name, source in (("configs", ROOT / "configs"), (needed, settings.data / str(needed))):
            if name and not (work / name).exists():
                os.symlink(source.resolve(), work / name)
        runs = Runs(data, work, runs_dir)
        if not settings.tables_only:
            failed += runs.all()
        found = measure(runs)
        if not found:
            continue
        rows += found
        measured.append(runs)
        write_json(settings.out / "nasrec_real.json", rows)
        long_form(rows).to_csv(settings.out / "nasrec_real.csv", index=False)
        text = table(rows)
        (settings.out / "nasrec_real_table.md").write_text(text, encoding="utf-8")
        sys.stdout.write(table(found) + "\n")
        draw(rows, settings.out / "nasrec_real.png")
        draw_distribution(measured, settings.out / "nasrec_real_cdf.png")
    return failed


if __name__ == "__main__":
    sys.exit(main())
