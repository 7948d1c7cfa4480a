"""The runs behind ``tower_real_data.py``: two-tower models by hand and by search, MovieLens 100K.

Everything that ``tower_searches.py`` lists goes through the job queue, by the configs of
``configs/`` with flags replaced. Besides, the networks that were best on one half of the users are
trained on the other half.

A run that has ended is started again at no cost.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from tower_searches import ANCHORED_SPACE, FINAL_SEEDS, SEARCHES, VARIANTS

from dnas.errors import JobError
from dnas.files import read_json
from dnas.runs import FINAL, FINALS, SAMPLED, SUPERNET, JobFolder, RunFolder

ROOT = Path(__file__).resolve().parent.parent
#: What was measured.
MEASURED = ROOT / "docs" / "results" / "data" / "two_towers.json"
#: Of trainings that are tested.
FINAL_CONFIG = "autotower_ml100k_final_search"


class Runs:
    """Starts runs and finds their results.

    Args:
        work: The working folder; configs name the data relative to it.
        runs_dir: Folder of run folders.
    """

    def __init__(self, work: Path, runs_dir: Path) -> None:
        self.work = work
        self.runs_dir = runs_dir
        self.narrowed = runs_dir / "configs"
        self.narrowed.mkdir(parents=True, exist_ok=True)

    def folder(self, name: str) -> RunFolder:
        """The run folder of a search, or of ``handmade_l`` and the like."""
        return RunFolder(self.runs_dir / f"towers_{name}")

    def handmade(self, size: str) -> int:
        """Train the hand-crafted models of one size; the exit code."""
        config = self._baselines()
        if isinstance(config, int):
            return config
        config = config.replace("_{l, m, h}.json", f"_{size}.json")
        return self._trained(config, f"handmade_{size}")

    def variant(self, short: str) -> int:
        """Train a hand-crafted model with other settings; the exit code."""
        model, settings, _ = VARIANTS[short]
        config = self._baselines(*settings, folder=f"towers_ml100k_{short}")
        if isinstance(config, int):
            return config
        config = config.replace("{googlednn, senet, bst, mind}_{l, m, h}.json", f"{model}.json")
        return self._trained(config, short)

    def search(self, short: str) -> int:
        """Search, train what was found, and test the best; the exit code."""
        search = SEARCHES[short]
        flags = dict(search.flags)
        if search.supernet is not None:
            flags["supernet_weights"] = str(self.supernet(search.supernet))
        first = with_flags(_config(search.config), {**search.data, **flags})
        if search.supernet is not None:  # nothing is trained
            first = first.replace("--save_supernet_weights\n", "")
        sampled = with_flags(_config(search.sampled), search.data)
        seeds = _listed(FINAL_SEEDS[: search.seeds])
        final = with_flags(_config(FINAL_CONFIG), {**search.data, "seed": seeds})
        if not search.second_round:
            return self._pipeline(short, first, sampled, final)
        second_round = with_flags(_config(search.second_round), search.data)
        return self._pipeline(short, first, sampled, second_round, final)

    def transfer(self, source: str, target: str) -> int:
        """Train what was best on the half ``source`` on the half ``target``; the exit code.

        Raises:
            JobError: The search on ``source`` has not ended.
        """
        data = SEARCHES[f"half_{target}"].data
        best = self.best(f"half_{source}")
        taken = self.narrowed / f"{source}_to_{target}" / best.parent.parent.name
        file = taken / best.name
        if not file.exists():
            flags = [word for name, value in data.items() for word in (f"--{name}", value)]
            code = self._run(
                *("-m", "dnas.cli.main", "architectures", "--search_space", "autotower"),
                *("--data_set", "ml_100k", "--raw_data", "../shared/data/ml-100k", *flags),
                *("--decisions_of", best, "--out", taken),
            )
            if code:
                return code
        seeds = FINAL_SEEDS[: SEARCHES[f"half_{target}"].seeds]
        text = with_flags(
            _config(FINAL_CONFIG), {**data, "seed": _listed(seeds), "sampled_arch": str(file)}
        )
        return self._trained(text, f"{source}_to_{target}")

    def later(self, short: str) -> int:
        """Train a model of ``RESPLIT`` on the temporal split; the exit code.

        The network of a search is the one that this repository's figures are of.
        """
        flags = {"retrieval_split": "temporal"}
        if short not in SEARCHES:
            config = self._baselines()
            if isinstance(config, int):
                return config
            model = "{googlednn, senet, bst, mind}_{l, m, h}.json"
            config = config.replace(model, f"{short}.json")
            return self._trained(with_flags(config, flags), f"later_{short}")
        taken = self.narrowed / f"later_{short}"
        if not taken.exists():
            decisions = read_json(MEASURED)[short]["architecture"]
            code = self._run(
                *("-m", "dnas.cli.main", "architectures", "--search_space", "autotower"),
                *(*ANCHORED_SPACE, "--data_set", "ml_100k", "--raw_data", "../shared/data/ml-100k"),
                *("--set", *(f"{key}={option}" for key, option in decisions.items())),
                *("--out", taken),
            )
            if code:
                return code
        (file,) = taken.glob("*.json")
        text = with_flags(
            _config(FINAL_CONFIG),
            {**flags, "seed": _listed(FINAL_SEEDS), "sampled_arch": str(file)},
        )
        return self._trained(text, f"later_{short}")

    def best(self, short: str) -> Path:
        """The architecture file that a search chose.

        Raises:
            JobError: It has not.
        """
        folder = self.folder(short).path
        if not (folder / "choice.json").exists():
            raise JobError(f"the search {short!r} has not ended: run --only {short} first")
        (chosen,) = read_json(folder / "choice.json")["chosen"]
        return folder / str(chosen["architecture"])

    def supernet(self, short: str) -> Path:
        """The weights that a search trained.

        Raises:
            JobError: It has not.
        """
        trained = [job.supernet_weights for job in self.folder(short).jobs(SUPERNET)]
        if len(trained) != 1 or not trained[0].exists():
            raise JobError(f"the supernet of {short!r} is not there: run --only {short} first")
        return trained[0]

    def finals(self, short: str) -> list[JobFolder]:
        """The final trainings of a search that succeeded."""
        last = FINALS[1] if SEARCHES[short].second_round else FINAL
        return _succeeded(self.folder(short).jobs(last))

    def of_transfer(self, source: str, target: str) -> list[JobFolder]:
        """The trainings on ``target`` of what was best on ``source``."""
        return _succeeded(self.folder(f"{source}_to_{target}").jobs(SAMPLED))

    def of_later(self, short: str) -> list[JobFolder]:
        """The trainings of a model of ``RESPLIT`` on the temporal split."""
        return _succeeded(self.folder(f"later_{short}").jobs(SAMPLED))

    def of_handmade(self, model: str) -> list[JobFolder]:
        """The trainings of ``googlednn_l`` and the like."""
        jobs = _succeeded(self.folder(f"handmade_{model[-1]}").jobs(SAMPLED))
        return [job for job in jobs if f"/{model}.json" in job.config.read_text(encoding="utf-8")]

    def of_variant(self, short: str) -> list[JobFolder]:
        """The trainings of a hand-crafted model with other settings."""
        return _succeeded(self.folder(short).jobs(SAMPLED))

    def _baselines(self, *settings: str, folder: str = "") -> str | int:
        """The config of the hand-crafted models, whose files are made if they are not there.

        Args:
            settings: Flags of the space.
            folder: In the place of the config's.

        Returns:
            Its text; the exit code if the files cannot be made.
        """
        config = _config("tower_baselines_ml100k")
        words = config.split("First: dnas ")[1].split(";")[0].split()
        if folder:
            config = config.replace(words[-1], folder)
            words[-1] = folder
        if not (self.work / words[-1] / "mind_l.json").exists():
            code = self._run("-m", "dnas.cli.main", *words, *settings)
            if code:
                return code
        return config

    def _pipeline(self, short: str, *configs: str) -> int:
        """Run or go on with a pipeline; the exit code."""
        paths = []
        search = SEARCHES[short]
        rounds = [search.second_round] if search.second_round else []
        names = (search.config, search.sampled, *rounds, FINAL_CONFIG)
        for stage, text in zip(names, configs, strict=True):
            paths.append(self.narrowed / f"{short}_{stage}")
            paths[-1].write_text(text, encoding="utf-8")
        experiment = self.folder(short).path.name
        where = ("--experiment_id", experiment, "--runs_dir", str(self.runs_dir))
        return self._run("run_dnas_pipeline.py", *paths, *where)

    def _trained(self, config: str, short: str) -> int:
        """Train what a config says; the exit code."""
        narrowed = self.narrowed / f"{short}_config"
        narrowed.write_text(config, encoding="utf-8")
        experiment = self.folder(short).path.name
        return self._run("tuning.py", narrowed, experiment, "--runs_dir", self.runs_dir)

    def _run(self, *words: str | Path) -> int:
        first = [str(ROOT / words[0])] if str(words[0]).endswith(".py") else [str(words[0])]
        command = [sys.executable, *first, *map(str, words[1:])]
        code = subprocess.run(command, cwd=self.work).returncode
        sys.stdout.write(f"{' '.join(map(str, words))}: exit code {code}\n")
        sys.stdout.flush()
        return code


def with_flags(config: str, flags: Mapping[str, str]) -> str:
    """A tuning config with these flags in the place of its own."""
    for name, value in flags.items():
        config, found = re.subn(
            rf'--{name}=("[^"]*"|\{{[^}}]*\}}|\S+)', f"--{name}={value}", config
        )
        if not found:
            words = f"--{name} {value}" if " " in value else f"--{name}={value}"
            config = config.replace("\nGPU_IDS", f"\n{words}\nGPU_IDS", 1)
    return config


def _config(name: str) -> str:
    return (ROOT / "configs" / name).read_text(encoding="utf-8")


def _listed(seeds: Iterable[int]) -> str:
    return f"{{{', '.join(map(str, seeds))}}}"


def _succeeded(jobs: Iterable[JobFolder]) -> list[JobFolder]:
    return [job for job in jobs if job.result.exists() and '"succeeded"' in job.result.read_text()]
