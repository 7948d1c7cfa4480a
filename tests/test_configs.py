"""Every tuning config of the project can be run: its grammar, its flags, its pair."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

import supernets  # noqa: F401  (registers the search spaces)
from dnas.cli import architectures, rank, search
from dnas.jobs import expand, load_config
from supernets.baselines import MODELS

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SEARCHES = sorted(CONFIGS.glob("*_dnas_search"))
SAMPLED = sorted(CONFIGS.glob("*_sampled_search"))
FINAL = sorted(CONFIGS.glob("*_final_search"))
STUDIES = sorted(path.name.removesuffix("_supernets") for path in CONFIGS.glob("*_supernets"))
BASELINES = sorted(CONFIGS.glob("*_baselines"))


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_search_configs_have_valid_flags(path, capsys):
    jobs = expand(load_config(path))
    for job in jobs[:2]:
        words = job.argv[next(i for i, word in enumerate(job.argv) if word.endswith(".py")) + 1 :]
        assert search.main([*words, "--print_config"]) == 0
        values = json.loads(capsys.readouterr().out)
        named = path.name.removesuffix("_dnas_search")
        expected = next((s for s in ("emb_card", "emb_dim", "joint") if s in named), None)
        expected = expected or ("top_bottom_mlps" if named.endswith("mlp") else "emb_card")
        assert values["search_space"] == expected


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_every_search_config_has_a_second_stage(path):
    stem = path.name.removesuffix("_dnas_search")
    # Of its own, or one that all searches on the same data share.
    shared = [stem.removesuffix(f"_{space}") for space in ("emb_card", "emb_dim", "mlp", "joint")]
    assert any((CONFIGS / f"{name}_sampled_search").exists() for name in (stem, *shared))


@pytest.mark.parametrize(
    "path", [*SEARCHES, *SAMPLED, *FINAL, *BASELINES], ids=lambda path: path.name
)
def test_configs_say_first_what_they_are(path):
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("path", SAMPLED, ids=lambda path: path.name)
def test_sampled_configs_train_sampled_architectures(path):
    config = load_config(path)
    assert config.wants_architecture
    assert len(expand(config)) == config.num_jobs


@pytest.mark.parametrize("path", FINAL, ids=lambda path: path.name)
def test_final_configs_train_the_best_architecture_and_test_it(path):
    config = load_config(path)
    assert config.kind == "final"
    assert all("--check_test_set_performance" in job.argv for job in expand(config))
    assert (CONFIGS / path.name.replace("_final_", "_sampled_")).exists()


@pytest.mark.parametrize("path", BASELINES, ids=lambda path: path.name)
def test_baselines_train_what_their_command_writes(path, capsys):
    command = path.read_text(encoding="utf-8").splitlines()[0].split("First: ")[1].split(";")[0]
    program, name, *words = shlex.split(command)
    assert (program, name) == ("dnas", "architectures")
    assert architectures.main([*words, "--print_config"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert (values["search_space"], values["each"]) == ("ctr_baselines", ["model/kind"])
    config = load_config(path)
    trained = {dict(job.settings)["sampled_arch"] for job in expand(config)}
    assert trained == set(MODELS)
    assert config.kind == "sampled"
    given = next(word for word in expand(config)[0].argv if word.startswith("--sampled_arch="))
    assert given == f"--sampled_arch={values['out']}/dlrm.json"
    data = {word for word in expand(config)[0].argv if word.startswith(("--raw_data", "--schema"))}
    assert data == {f"--{key}={values[key]}" for key in ("raw_data", "schema")}


def test_the_papers_grids():
    for space, jobs in (("emb_card", 6), ("emb_dim", 6), ("mlp", 6)):
        assert len(expand(load_config(CONFIGS / f"paper_{space}_dnas_search"))) == jobs
        assert len(expand(load_config(CONFIGS / f"paper_{space}_sampled_search"))) == 4


@pytest.mark.parametrize("study", STUDIES)
def test_studies_compare_the_papers_strategies_in_both_settings(study, monkeypatch, capsys):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    paths = [str(CONFIGS / f"{study}_{part}") for part in ("supernets", "subnets", "scores")]
    assert rank.main([*paths, "--dry_run"]) == 0
    out = capsys.readouterr().out
    assert "drawn: 2 jobs" in out
    assert "200 subnets (100 for each of 2 settings of the space), 400 trainings" in out
    assert "6 supernets, 6 scorings" in out
