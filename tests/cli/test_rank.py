"""``dnas rank``: a whole study, its files, mistakes, and managers that are killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from dnas.cli.main import main as dnas
from dnas.files import read_json, read_json_lines
from dnas.reporting.rank_correlation import kendall_tau_b, pearson

ROOT = Path(__file__).resolve().parents[2]
SPACE = "tests.ranking_space:SPACE"
FILES = "--save_metrics_param=SAVE_METRICS_PARAM --host_gpu_id=GPU_ID_PARAM"
DATA = "--data_set=synthetic --synthetic_rows=600 --synthetic_features=3 --synthetic_values=20"
SUPERNETS = (
    f"python train_dnas.py --search_space={SPACE} --search_algorithm=random_search --population=1 "
    "--sample_size=1 --children=1 --n_iterations=0 --top_k=1 --finetune_steps=0 "
    f"--save_supernet_weights --batch_size=32 --lr=0.1 --n_epochs=2 {FILES} {DATA} CACHE"
)
SUBNETS = (
    "python train_sampled.py --sampled_arch=SAMPLED_ARCH_PARAM --batch_size=32 --n_epochs=2 "
    f"--optimizer=adagrad --lr=0.1 {FILES} {DATA} CACHE"
)
SCORES = (
    "python score_subnets.py --supernet=SUPERNET_PARAM --architectures=ARCHITECTURES_PARAM "
    f"--finetune_batch_size=32 {FILES}"
)


class StudyFiles:
    """Three configs in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.run = folder / "runs" / "s"
        self.write()

    def write(
        self, supernets: str = SUPERNETS, subnets: str = SUBNETS, scores: str = SCORES
    ) -> None:
        cache = f"--data_cache={self.folder / 'cache'}"
        for name, text in (("supernets", supernets), ("subnets", subnets), ("scores", scores)):
            text = text.replace("CACHE", cache)
            (self.folder / name).write_text(f"{text}\nGPU_IDS:cpu,cpu\n")

    def words(self, *flags: str, subnets: int = 4) -> list[str]:
        names = [str(self.folder / name) for name in ("supernets", "subnets", "scores")]
        runs = f"--runs_dir={self.folder / 'runs'}"
        return [*names, runs, "--experiment_id=s", f"--num_subnets={subnets}", *flags]

    def rank(self, *flags: str, subnets: int = 4) -> int:
        return dnas(["rank", *self.words("--executor=debug", *flags, subnets=subnets)])

    def jobs(self, kind: str) -> list[dict]:
        return [read_json(path) for path in sorted(self.run.glob(f"{kind}/*/job.json"))]

    def results(self, kind: str) -> list[dict]:
        return [read_json(path) for path in sorted(self.run.glob(f"{kind}/*/result.json"))]


@pytest.fixture(scope="module", autouse=True)
def _import_path() -> Iterator[None]:
    """Jobs that are processes must find the space of these tests, and this project."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def study(tmp_path: Path) -> StudyFiles:
    """Configs that have not been run."""
    return StudyFiles(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> StudyFiles:
    """A study of two path samplings in two settings of the space."""
    made = StudyFiles(tmp_path_factory.mktemp("study"))
    made.write(
        SUPERNETS + " --path_sampling={any, single} {--doubled, }",
        SUBNETS + " --seed={1, 2}",
        SCORES + " --finetune_steps=20",
    )
    assert made.rank() == 0
    return made


def test_every_subnet_is_trained_in_every_setting_and_scored_by_every_supernet(done):
    drawn = done.jobs("drawn")
    assert [job["settings"] for job in drawn] == [
        {"space.doubled": "true"},
        {"space.doubled": "false"},
    ]
    names = [sorted(done.run.glob(f"drawn/{job['id']}/architectures/*.json")) for job in drawn]
    assert [len(files) for files in names] == [4, 4]
    # The decisions are the same, the networks are not.
    decisions = [[read_json(file)["id"] for file in files] for files in names]
    assert decisions[0] == decisions[1]
    assert len(set(decisions[0])) == 4
    trained = Counter(
        (job["settings"]["space.doubled"], job["canonical_id"], job["settings"]["seed"])
        for job in done.jobs("sampled")
    )
    assert len(trained) == 2 * 4 * 2
    assert set(trained.values()) == {1}
    scored = done.jobs("scored")
    assert sorted(job["inputs"]["SUPERNET_PARAM"] for job in scored) == sorted(
        f"supernet/{job['id']}" for job in done.jobs("supernet")
    )
    for job, result in zip(scored, done.results("scored"), strict=True):
        draw = drawn[job["settings"]["supernet.doubled"] != "true"]["id"]
        assert job["inputs"]["ARCHITECTURES_PARAM"] == f"drawn/{draw}/architectures"
        assert [entry["id"] for entry in result["scores"]] == decisions[0]
        assert {len(entry) for entry in result["scores"]} == {5}


def test_scores_are_what_the_supernet_gives(done):
    """One of them again, by the library alone."""
    import torch
    from safetensors.torch import load_file

    from dnas.cli.score import supernet_setting
    from dnas.runs import JobFolder
    from dnas.training.seeding import derive_seed

    job = done.jobs("scored")[0]
    supernet = JobFolder(done.run / job["inputs"]["SUPERNET_PARAM"])
    space, _, config, data_config = supernet_setting(supernet)
    assert config.doubled == (job["settings"]["supernet.doubled"] == "true")
    data = space.prepare(data_config)
    net = space.make_supernet(config, data.spec)
    net.load_state_dict(load_file(supernet.supernet_weights))
    files = sorted((done.run / job["inputs"]["ARCHITECTURES_PARAM"]).glob("*.json"))
    loader = data.loader(
        "validation", 10_000, shuffle=False, seed=derive_seed(1, "x"), drop_last=False,
        device=torch.device("cpu"), flag="",
    )  # fmt: skip
    (batch,) = loader.batches(0, 1)
    for file, entry in zip(files, done.results("scored")[0]["scores"], strict=True):
        sample = net.one_hot_sample(read_json(file)["decisions"])
        loss = space.task.loss(net(*batch.inputs, sample=sample), batch.labels)
        assert entry["as_is"]["logloss"] == pytest.approx(loss.item(), abs=1e-6)
        assert entry["finetuned"]["logloss"] != entry["as_is"]["logloss"]


def test_the_report_correlates_the_scores_with_the_mean_truth(done):
    folder = done.run / "ranking"
    truths, scores = pd.read_csv(folder / "truths.csv"), pd.read_csv(folder / "scores.csv")
    assert len(truths) == 16
    assert len(scores) == 4 * 4 * 2
    result = {
        (job["settings"]["space.doubled"], job["canonical_id"], job["settings"]["seed"]): found
        for job, found in zip(done.jobs("sampled"), done.results("sampled"), strict=True)
    }
    for _, row in truths.iterrows():
        doubled = row["setting"].removeprefix("doubled=")
        found = result[doubled, row["canonical_id"], str(row["seed"])]
        assert row["truth"] == pytest.approx(found["validation"]["logloss"])
    table = pd.read_csv(folder / "correlations.csv")
    assert len(table) == 8
    for _, row in table.iterrows():
        here = scores[
            (scores["setting"] == row["setting"])
            & (scores["supernet.path_sampling"] == row["supernet.path_sampling"])
            & (scores["how"] == row["how"])
        ]
        truth = truths[truths["setting"] == row["setting"]].groupby("canonical_id")["truth"].mean()
        assert len(here) == row["subnets"] == 4
        y = truth.loc[here["canonical_id"]]
        assert list(here["truth"]) == pytest.approx(list(y))
        assert row["kendall"] == pytest.approx(float(kendall_tau_b(here["score"], y)))
        assert row["pearson"] == pytest.approx(float(pearson(here["score"], y)))
    noise = pd.read_csv(folder / "noise.csv")
    assert list(noise["trainings"]) == [2, 2]
    one, two = (
        truths[(truths["setting"] == "doubled=true") & (truths["seed"] == s)]["truth"]
        for s in (1, 2)
    )
    assert noise["pearson"][0] == pytest.approx(float(pearson(one, two)))
    # 4 path samplings, 4 settings, 4 fine-tunings: pairs of scorers that differ in one thing.
    assert Counter(pd.read_csv(folder / "differences.csv")["differs"]) == {
        "how": 4, "supernet.doubled": 4, "supernet.path_sampling": 4,
    }  # fmt: skip
    text = (folder / "ranking.md").read_text()
    assert "two trainings of the same subnets agree" in text
    assert "any − single" in text
    for name in ("scatter.as_is.png", "scatter.finetuned.png", "correlations.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert f"({name})" in text


def test_started_again_it_does_nothing_twice(done, capsys):
    def attempts() -> list[int]:
        return [read_json(path)["attempts"] for path in sorted(done.run.glob("*/*/status.json"))]

    before = attempts()
    text = (done.run / "ranking" / "ranking.md").read_text()
    shutil.rmtree(done.run / "ranking")
    assert done.rank() == 0
    assert attempts() == before == [1] * (2 + 4 + 16 + 4)
    assert (done.run / "ranking" / "ranking.md").read_text() == text
    assert text in capsys.readouterr().out


def test_a_moved_study_goes_on(done, tmp_path):
    moved = StudyFiles(tmp_path)
    shutil.copytree(done.run, moved.run)
    for name in ("supernets", "subnets", "scores"):
        shutil.copy(done.folder / name, moved.folder / name)
    (_, lost, *_) = sorted(moved.run.glob("scored/*"))
    scores = lost / "scores.jsonl"
    lines = scores.read_text().splitlines()
    (lost / "result.json").unlink()
    assert moved.rank() == 0
    assert Counter(read_json(p)["attempts"] for p in moved.run.glob("scored/*/status.json")) == {
        1: 3,
        2: 1,
    }
    # The weights were copied: what was scored was scored with a file of that name and time.
    assert scores.read_text().splitlines()[: len(lines)] == lines
    assert (moved.run / "ranking" / "correlations.csv").read_text() == (
        done.run / "ranking" / "correlations.csv"
    ).read_text()


def test_dnas_report_and_status_know_studies(done, capsys):
    assert dnas(["report", str(done.run)]) == 0
    out = capsys.readouterr().out
    assert "# Rank correlation: s" in out
    assert "experiment s: finished" in out
    assert dnas(["status", str(done.run)]) == 0
    out = capsys.readouterr().out
    assert "drawn" in out
    assert "scored" in out


def test_scoring_goes_on_behind_what_is_scored(done, tmp_path, monkeypatch, capsys):
    from dnas.cli import score
    from dnas.strategies.evaluator import SharedWeightsEvaluator

    job = done.jobs("scored")[0]
    words = [
        f"--supernet={done.run / job['inputs']['SUPERNET_PARAM']}",
        f"--architectures={done.run / job['inputs']['ARCHITECTURES_PARAM']}",
        "--finetune_batch_size=32",
        "--finetune_steps=20",
        "--host_gpu_id=cpu",
        f"--save_metrics_param={tmp_path / 'result.json'}",
    ]
    real, calls = SharedWeightsEvaluator.__call__, []

    def counted(self, architecture):
        calls.append(architecture.id)
        if len(calls) == 7:
            raise KeyboardInterrupt
        return real(self, architecture)

    monkeypatch.setattr(SharedWeightsEvaluator, "__call__", counted)
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    try:
        with pytest.raises(KeyboardInterrupt):
            score.main(words)
        assert len(read_json_lines(tmp_path / "scores.jsonl")) == 6
        calls.clear()
        assert score.main(words) == 0
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert len(calls) == 2
    assert read_json(tmp_path / "result.json")["scores"] == done.results("scored")[0]["scores"]


@pytest.mark.slow
def test_a_study_whose_manager_is_killed_ends_as_if_nothing_had_happened(done, study, tmp_path):
    study.write(
        SUPERNETS + " --path_sampling={any, single}", scores=SCORES + " --finetune_steps=20"
    )
    words = [sys.executable, "-m", "dnas.cli.main", "rank", *study.words("--no_live")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    manager = subprocess.Popen(words, **quiet)
    deadline = time.monotonic() + 120
    while not list(study.run.glob("sampled/*/result.json")):
        assert time.monotonic() < deadline, "no subnet was trained"
        time.sleep(0.02)
    manager.kill()
    manager.wait()
    assert subprocess.run(words, check=False, **quiet).returncode == 0
    counts = {kind: len(study.jobs(kind)) for kind in ("drawn", "supernet", "sampled", "scored")}
    assert counts == {"drawn": 1, "supernet": 2, "sampled": 4, "scored": 2}
    # The other study has trained and scored the same networks, undisturbed.
    tables = []
    for run in (study.run, done.run):
        truths, scores = (pd.read_csv(run / "ranking" / f"{n}.csv") for n in ("truths", "scores"))
        truths = truths[(truths["seed"] == 1) & (truths["setting"] != "doubled=true")]
        scores = scores[scores["setting"] != "doubled=true"]
        tables.append(
            (
                truths[["file", "canonical_id", "truth"]].reset_index(drop=True),
                scores[["canonical_id", "supernet.path_sampling", "how", "score"]].reset_index(
                    drop=True
                ),
            )
        )
    for one, other in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(one, other)


# ------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"supernets": SUPERNETS.replace("--save_supernet_weights", "")}, "which are not kept"),
        ({"supernets": SUPERNETS + " --n_epoch=2"}, "supernets:1: train_dnas.py refuses"),
        ({"supernets": SUPERNETS + " --synthetic_seed={1, 2}"}, "read different data"),
        ({"supernets": SUPERNETS.replace("train_dnas", "train_sampled")}, "not train_dnas.py"),
        ({"supernets": SUBNETS}, "cannot be in the config of supernet jobs"),
        ({"subnets": SCORES}, "SUPERNET_PARAM is only known in the third config"),
        ({"subnets": SUPERNETS}, "SAMPLED_ARCH_PARAM is missing"),
        ({"scores": SCORES.replace("SUPERNET_PARAM", "x")}, "SUPERNET_PARAM is missing"),
        ({"scores": SCORES.replace("ARCHITECTURES_PARAM", "x")}, "ARCHITECTURES_PARAM is missing"),
        ({"scores": SUBNETS}, "cannot be in the config of scored jobs"),
    ],
)
def test_mistakes_are_refused_before_anything_starts(study, changes, message, capsys):
    study.write(**changes)
    assert study.rank() == 2
    assert message in capsys.readouterr().err
    assert not study.run.exists()


def test_too_few_subnets_have_no_order(study, capsys):
    assert study.rank(subnets=2) == 2
    assert "--num_subnets 2: an order needs at least 3" in capsys.readouterr().err


def test_a_dry_run_counts_the_jobs(study, capsys):
    study.write(
        SUPERNETS + " --path_sampling={any, single} {--doubled, }", SUBNETS + " --seed={1,2}"
    )
    assert study.rank("--dry_run") == 0
    out = capsys.readouterr().out
    assert "drawn: 2 jobs" in out
    assert "8 subnets (4 for each of 2 settings of the space), 16 trainings" in out
    assert "4 supernets, 4 scorings" in out
    assert not study.run.exists()


def test_a_study_without_a_name_gets_one_from_its_configs(study, capsys):
    words = [word for word in study.words() if not word.startswith("--experiment_id")]
    names = []
    for subnets in (SUBNETS, SUBNETS, SUBNETS + " --seed=7"):
        study.write(subnets=subnets)
        assert dnas(["rank", *words, "--dry_run"]) == 0
        names.append(capsys.readouterr().out.split(":")[0])
    assert Path(names[0]).name.startswith("supernets-rank4-1-")
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize("flag", ["--num_subnets=6", "--subnet_seed=2"])
def test_a_study_keeps_its_subnets(done, flag, capsys):
    assert dnas(["rank", *done.words("--executor=debug"), flag]) == 2
    name, value = flag.split("=")
    was = {"--num_subnets": "4", "--subnet_seed": "1"}[name]
    assert f"started with {name} {was}, now it is {value}" in capsys.readouterr().err


def test_a_pipeline_is_no_study(study, capsys):
    (study.run / "sampled").mkdir(parents=True)
    assert study.rank() == 2
    assert "not those of a study of rank correlation" in capsys.readouterr().err


def test_a_space_that_is_too_small_fails_the_draw(study, capsys):
    assert study.rank("--no_report", "--retries=crashed=0", subnets=257) == 1
    assert "--num_subnets 257: 256 different networks" in capsys.readouterr().out


def test_what_an_earlier_version_did_not_write_has_its_default(done, tmp_path):
    from dnas.cli import score

    for job in done.jobs("scored"):
        inputs = job["inputs"]
        supernet = done.run / inputs["SUPERNET_PARAM"]
        if not json.loads((supernet / "config.json").read_text())["doubled"]:
            break
    folder = tmp_path / "earlier"
    shutil.copytree(done.run / inputs["ARCHITECTURES_PARAM"], folder)
    for path in folder.glob("*.json"):
        value = json.loads(path.read_text())
        assert value["space_config"].pop("doubled") is False
        path.write_text(json.dumps(value))
    words = [f"--supernet={supernet}", f"--architectures={folder}", "--host_gpu_id=cpu"]
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    assert score.main([*words, f"--save_metrics_param={tmp_path / 'scores' / 'result.json'}"]) == 0
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_what_does_not_fit_is_not_scored(done, tmp_path, capsys):
    from dnas.cli import score

    jobs = done.jobs("scored")
    one = jobs[0]["inputs"]
    other = next(j["inputs"] for j in jobs if j["inputs"] != one and
                 j["inputs"]["ARCHITECTURES_PARAM"] != one["ARCHITECTURES_PARAM"])  # fmt: skip
    words = ["--host_gpu_id=cpu", f"--save_metrics_param={tmp_path / 'result.json'}"]
    supernet = f"--supernet={done.run / one['SUPERNET_PARAM']}"

    def refusal(*flags: str) -> str:
        handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
        assert score.main([*words, *flags]) == 2
        for number, handler in handlers.items():
            signal.signal(number, handler)
        return capsys.readouterr().err

    folder = f"--architectures={done.run / other['ARCHITECTURES_PARAM']}"
    assert "0000.json is of doubled=" in refusal(supernet, folder)
    (tmp_path / "empty").mkdir()
    empty = f"--architectures={tmp_path / 'empty'}"
    assert "there is no architecture file" in refusal(supernet, empty)
    folder = f"--architectures={done.run / one['ARCHITECTURES_PARAM']}"
    assert "config.json is not there" in refusal(f"--supernet={tmp_path / 'empty'}", folder)
    (tmp_path / "bare").mkdir()
    shutil.copy(done.run / one["SUPERNET_PARAM"] / "config.json", tmp_path / "bare")
    assert "--save_supernet_weights" in refusal(f"--supernet={tmp_path / 'bare'}", folder)
