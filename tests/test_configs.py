"""Every tuning config of the project can be run: its grammar, its flags, its pair."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pytest

import supernets  # noqa: F401  (registers the search spaces)
from dnas.cli import architectures, rank, search
from dnas.jobs import expand, load_config
from supernets.baselines import MODELS
from supernets.towers.baseline_models import KINDS

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
SEARCHES = sorted(CONFIGS.glob("*_dnas_search"))
SAMPLED = sorted(CONFIGS.glob("*_sampled_search"))
FINAL = sorted(CONFIGS.glob("*_final_search"))
STUDIES = sorted(path.name.removesuffix("_supernets") for path in CONFIGS.glob("*_supernets"))
BASELINES = sorted(CONFIGS.glob("*_baselines"))
OTHERS = sorted(p for name in ("nasrec_*", "*tower*") for p in CONFIGS.glob(name))
#: Data sets of ``benchmarks/nasrec_real_data.py``.
NASREC_DATA = ("kdd2012", "adult", "criteo_day0")


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_search_configs_have_valid_flags(path, capsys):
    jobs = expand(load_config(path))
    for job in jobs[:2]:
        words = job.argv[next(i for i, word in enumerate(job.argv) if word.endswith(".py")) + 1 :]
        assert search.main([*words, "--print_config"]) == 0
        values = json.loads(capsys.readouterr().out)
        named = path.name.removesuffix("_dnas_search")
        expected = next(
            (s for s in ("emb_card", "emb_dim", "joint", "autotower") if s in named), None
        )
        expected = expected or ("top_bottom_mlps" if named.endswith("mlp") else "emb_card")
        assert values["search_space"] == expected


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_every_search_config_has_a_second_stage(path):
    stem = path.name.removesuffix("_dnas_search")
    # Of its own, or one that all searches on the same data share.
    shared = [stem.removesuffix(f"_{space}") for space in ("emb_card", "emb_dim", "mlp", "joint")]
    assert any((CONFIGS / f"{name}_sampled_search").exists() for name in (stem, *shared))


@pytest.mark.parametrize(
    "path",
    [*SEARCHES, *SAMPLED, *FINAL, *BASELINES, *OTHERS],
    ids=lambda path: path.name,
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


@pytest.mark.parametrize("data", NASREC_DATA)
def test_nasrec_searches_have_valid_flags(data, capsys):
    found = set()
    for job in expand(load_config(CONFIGS / f"nasrec_{data}_search")):
        assert search.main([*job.argv[2:], "--print_config"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["top_k"] == 15
        found.add((values["search_algorithm"], values["search_space"]))
    assert found == {
        (algorithm, space)
        for algorithm in ("evolution", "random_search")
        for space in ("nasrec_small", "nasrec_full")
    }


@pytest.mark.parametrize("data", NASREC_DATA)
@pytest.mark.parametrize("grid", ["baselines_grid", "random_grid"])
def test_what_nasrec_is_compared_with_is_what_the_command_writes(data, grid, capsys):
    path = CONFIGS / f"nasrec_{data}_{grid}"
    command = path.read_text(encoding="utf-8").splitlines()[0].split("First: ")[1].split(";")[0]
    program, name, *words = shlex.split(command)
    assert (program, name) == ("dnas", "architectures")
    assert architectures.main([*words, "--print_config"]) == 0
    values = json.loads(capsys.readouterr().out)
    search_words = expand(load_config(CONFIGS / f"nasrec_{data}_search"))[0].argv[2:]
    assert search.main([*search_words, "--print_config"]) == 0
    searched = json.loads(capsys.readouterr().out)
    same = ["data_set", "raw_data", "schema", "split", "embedding_dimension", "max_embedding_rows"]
    if grid == "random_grid":
        same += ["num_blocks", "dense_dims", "sparse_dims"]
        names = [f"{number:04d}" for number in range(values["random"])]
        assert not values["layer_norm"]
    else:
        options = (MODELS, values["mlp_width_options"], values["mlp_depth_options"])
        names = ["+".join(map(str, words)) for words in itertools.product(*options)]
        assert values["each"] == ["model/kind", "width/mlp", "depth/mlp"]
    assert {key: values[key] for key in same} == {key: searched[key] for key in same}
    files = {job.argv[2].split("=")[1] for job in expand(load_config(path))}
    assert files == {f"{values['out']}/{name}.json" for name in names}


@pytest.mark.parametrize("data", NASREC_DATA)
def test_nasrec_and_what_it_is_compared_with_are_tuned_alike(data):
    def settings(name):
        config = load_config(CONFIGS / f"nasrec_{data}_{name}")
        words = [
            {w for w in job.argv[2:] if not w.startswith(("--sampled_arch", "layer_norm="))}
            for job in expand(config)
        ]
        return [frozenset(w - {"--space_overrides"}) for w in words]

    sampled, grid, random = (
        settings(name) for name in ("sampled_search", "baselines_grid", "random_grid")
    )
    assert set(sampled) == set(grid) == set(random)
    # 15 architectures: of a search, of each baseline, at random.
    assert len(grid) == len(MODELS) * len(random) == len(MODELS) * 15 * len(sampled)
    final, best = settings("final_search"), settings("given_best")
    assert set(final) == set(best)
    assert len(best) == (len(MODELS) + 1) * len(final)
    assert all("max_embedding_rows=0" in words for words in final)


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


def _printed(main, words, capsys):
    """The resolved flags of a script."""
    assert main([*words, "--print_config"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", ["autotower_ml100k_search", "autotower_paper_ml100k_search"])
def test_autotower_searches_have_valid_flags(name, capsys):
    jobs = expand(load_config(CONFIGS / name))
    found = [_printed(search.main, job.argv[2:], capsys) for job in jobs]
    for values in found:
        assert (values["search_space"], values["search_algorithm"]) == ("autotower", "genetic")
        assert values["cost_limit"] == ["paper_params=480000.0", "paper_flops=280000.0"]
        assert (values["top_k"], values["num_parents"], values["mutation_probability"]) == (
            3,
            10,
            0.1,
        )
    if name == "autotower_paper_ml100k_search":
        steps = 50_000 // 1024  # of an epoch, whose last rows are left out
        assert [round(float(v["n_epochs"]) * steps) for v in found] == [50_000]
        assert {(v["population"], v["children"], v["n_iterations"]) for v in found} == {
            (50, 50, 50)
        }


def test_halving_searches_the_same_space_and_trains_as_the_others_do(capsys):
    """But for the candidates' search, how many are trained, and for how long at first."""
    [anchored], [halving] = (
        expand(load_config(CONFIGS / f"autotower_ml100k_{name}_search"))
        for name in ("anchored", "halving")
    )
    both = [_printed(search.main, job.argv[2:], capsys) for job in (anchored, halving)]
    assert {key for key, value in both[0].items() if both[1].get(key) != value} <= {
        *("search_algorithm", "top_k"),
        *("num_parents", "mutation_probability"),  # of a genetic search alone
    }
    assert (both[1]["search_algorithm"], both[1]["top_k"]) == ("random_search", 24)
    plain, first, second = (
        load_config(CONFIGS / f"autotower_ml100k_{name}")
        for name in ("sampled_search", "halving_sampled_search", "halving_second_round")
    )
    words = [expand(config)[0].argv[3:] for config in (plain, first, second)]
    assert words[0] == words[2]
    assert set(words[0]) ^ set(words[1]) == {"--n_epochs=100", "--patience=5", "--n_epochs=8"}
    assert (second.kind, second.num_best_archs) == ("final", 4)


@pytest.mark.parametrize("name", ["tower_baselines_ml100k", "autotower_ml100k_random_grid"])
def test_towers_to_compare_with_are_what_the_command_writes(name, capsys):
    config = CONFIGS / name
    command = config.read_text(encoding="utf-8").split("First: ")[1].split(";")[0]
    program, verb, *words = shlex.split(command)
    assert (program, verb) == ("dnas", "architectures")
    values = _printed(architectures.main, words, capsys)
    if name == "tower_baselines_ml100k":
        assert values["each"] == ["model/kind"]
        names = set(KINDS)
    else:
        names = {f"{number:04d}" for number in range(values["random"])}
    files = {
        word.split("=")[1]
        for job in expand(load_config(config))
        for word in job.argv
        if word.startswith("--sampled_arch")
    }
    assert files == {f"{values['out']}/{stem}.json" for stem in names}


def test_towers_by_hand_and_by_search_are_trained_alike():
    def settings(name):
        return {
            frozenset(w for w in job.argv[2:] if not w.startswith("--sampled_arch"))
            for job in expand(load_config(CONFIGS / name))
        }

    final = settings("autotower_ml100k_final_search")
    assert settings("tower_baselines_ml100k") == final
    assert len(final) == 5
