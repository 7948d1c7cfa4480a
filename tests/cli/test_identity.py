"""Checkpoints, logs and supernets' weights are of one setting of a space and of one data set."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from dnas.cli import score, search, train
from dnas.cli.identity import difference
from dnas.training.weights import save_weights
from tests.toys import DATA_FLAGS

#: 343 training rows are 10 steps with this batch size and with 33.
SEARCH = (
    "--search_space=tests.ranking_space:SPACE", "--search_algorithm=evolution", "--batch_size=32",
    "--population=3", "--sample_size=2", "--children=2", "--n_iterations=1", "--top_k=2",
    "--finetune_steps=0", "--log_every_steps=4",
)  # fmt: skip
OTHERS = [
    (["--split_seed=2"], "split.seed"),
    (["--synthetic_seed=1"], "data.content_hash"),
    (["--doubled"], "space.doubled"),
]


@pytest.fixture(scope="module")
def one_shot(tmp_path_factory, data_cache):
    """The scripts after a search that kept its supernet."""
    from tests.cli.conftest import Scripts

    made = Scripts(tmp_path_factory.mktemp("identity"), data_cache)
    assert search.main(words(made, "s", "--save_supernet_weights")) == 0
    return made


@pytest.fixture
def copied(one_shot, tmp_path):
    """The same in a folder of the test."""
    from tests.cli.conftest import Scripts

    made = Scripts(tmp_path, one_shot.folder)
    made.data = one_shot.data
    shutil.copytree(one_shot.folder / "s", tmp_path / "s")
    return made


def words(scripts, name, *more):
    return [*SEARCH, *scripts.data, *scripts.job(name), *more]


def supernet(scripts):
    return f"--supernet_weights={scripts.folder / 's' / 'supernet.safetensors'}"


# -------------------------------------------------------------------------------- going on


@pytest.mark.parametrize(("more", "key"), [*OTHERS, (["--batch_size=33"], "batch_size")])
def test_a_checkpoint_of_other_data_or_another_setting_is_refused(copied, more, key, capsys):
    flags = [word for word in words(copied, "s") if not more[0].startswith(word.split("=")[0])]
    assert search.main([*flags, *more]) == 2
    assert f"checkpoint.pt: the checkpoint was made with {key}=" in capsys.readouterr().err


def test_the_same_command_goes_on(copied):
    before = (copied.folder / "s" / "candidates.jsonl").read_bytes()
    assert search.main(words(copied, "s")) == 0
    assert (copied.folder / "s" / "candidates.jsonl").read_bytes() == before


def test_a_log_of_candidates_of_other_data_is_refused(copied, capsys, caplog):
    """With weights that do not say what they are of, as they were written once."""
    file = copied.folder / "s" / "supernet.safetensors"
    save_weights(file, load_file(file))
    assert search.main(words(copied, "r", supernet(copied))) == 0
    assert "does not say of which space and data it is" in caplog.text
    assert search.main(words(copied, "r", supernet(copied), "--split_seed=2")) == 2
    assert "candidates.jsonl: the checkpoint was made with split.seed=1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (["--split_seed=2"], "split.seed"),
        (["--arch_interaction_itself"], "space.arch_interaction_itself"),
        (["--max_embedding_rows=999"], "space.max_embedding_rows"),
        (["--weights_lr_base=0.1"], "weights_lr_schedule"),
        (["--arch_params_lr_schedule=cosine"], "arch_params_lr_schedule"),
        (["--num_random_archs=1"], "num_random_archs"),
        (["--no_sample_most_likely"], "sample_most_likely"),
    ],
)
def test_a_gradient_search_of_other_data_or_another_setting_is_refused(scripts, more, key, capsys):
    flags = ("--n_total_s_net_training_epochs=1", "--num_warmup_epochs=0")
    assert scripts.search(*flags, "--architecture_sampling=1:1", space="emb_dim") == 0
    assert scripts.search(*flags, "--architecture_sampling=1:1", *more, space="emb_dim") == 2
    assert f"the checkpoint was made with {key}=" in capsys.readouterr().err


@pytest.fixture
def trained(searched, tmp_path):
    """The scripts after a training that has ended, in a folder of the test."""
    from tests.cli.conftest import Scripts

    made = Scripts(tmp_path, searched.folder)
    made.data = searched.data
    shutil.copytree(searched.folder / "s", tmp_path / "s")
    assert made.train("--lr_schedule=exponential") == 0
    return made


@pytest.mark.parametrize(
    ("more", "key"),
    [
        (["--synthetic_seed=1"], "data.content_hash"),
        (["--split_seed=2"], "split.seed"),
        (["--lr_base=0.1"], "lr_schedule"),
        (["--lr_schedule=constant"], "lr_schedule"),
        (["--update_lrs_every_step"], "update_lr_every_step"),
        (["--patience=1"], "patience"),
        (["--warm_start=supernet"], "warm_start"),
    ],
)
def test_a_training_of_other_data_or_with_other_settings_is_refused(trained, more, key, capsys):
    """Its result would be that of the training before."""
    kept = ["--lr_schedule=exponential", *more]
    assert trained.train(*kept) == 2
    assert f"checkpoint.pt: the checkpoint was made with {key}=" in capsys.readouterr().err


def test_the_same_training_goes_on(trained):
    before = trained.result("t")["validation"]
    assert trained.train("--lr_schedule=exponential", "--log_every_steps=7") == 0
    assert trained.result("t")["validation"] == before


# -------------------------------------------------------------------------------- weights


def test_weights_say_what_they_are_of(one_shot):
    with safe_open(one_shot.folder / "s" / "supernet.safetensors", framework="pt") as file:
        found = json.loads(file.metadata()["dnas.identity"])
    data = one_shot.result("s")["data"]
    assert (found["search_space"], found["space.doubled"]) == ("functions", False)
    assert found["data.content_hash"] == data["content_hash"]
    assert found["split.train_fraction"] == data["split"]["train_fraction"]
    assert found["split_rows.test"] == data["split"]["parts"]["test"]["hash"]


@pytest.mark.parametrize(("more", "key"), OTHERS)
def test_weights_of_other_data_or_another_setting_are_refused(one_shot, more, key, capsys):
    """Their shapes are the same."""
    assert search.main(words(one_shot, "w", supernet(one_shot), *more)) == 2
    error = capsys.readouterr().err
    assert "supernet.safetensors: was trained in another setting or on other data: " in error
    assert f"{key} was " in error
    assert not (one_shot.folder / "w" / "candidates.jsonl").exists()


def test_how_training_rows_were_divided_is_no_matter_to_trained_weights(one_shot):
    more = ("--weights_training_proportion=0.5", supernet(one_shot))
    assert search.main(words(one_shot, "p", *more)) == 0


def test_weights_are_scored_in_the_setting_of_their_job(copied, capsys):
    folder = copied.folder / "s"
    more = [f"--supernet={folder}", f"--architectures={folder / 'architectures'}"]
    assert score.main([*more, *copied.job("scores"), "--finetune_steps=0"]) == 0
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "split_seed": 2}))
    assert score.main([*more, *copied.job("other"), "--finetune_steps=0"]) == 2
    assert "split.seed was 1, is 2" in capsys.readouterr().err


def test_a_warm_start_is_of_the_same_rows(one_shot, capsys):
    architecture = one_shot.folder / "s" / "architectures" / "0000.json"
    warm = [f"--sampled_arch={architecture}", *DATA_FLAGS, one_shot.data[-1], "--batch_size=64",
            "--n_epochs=1", "--warm_start=supernet"]  # fmt: skip
    assert train.main([*warm, *one_shot.job("t")]) == 0
    assert train.main([*warm, *one_shot.job("o"), "--space_overrides=doubled=true"]) == 0
    assert train.main([*warm, *one_shot.job("x"), "--split_seed=2"]) == 2
    assert "split.seed was 1, is 2" in capsys.readouterr().err


def test_differences_by_hand():
    ours = {
        "search_space": "a", "space.x": 1, "space.y": [2], "data.content_hash": "h",
        "split.rule": "random", "split.seed": 1, "split_rows.weights": "w", "split_rows.train": "t",
        "split_rows.validation": "v",
    }  # fmt: skip
    assert difference(ours, ours) == ""
    assert difference(ours, {**ours, "space.x": 3}) == "space.x was 1, is 3"
    assert difference(ours, {**ours, "space.x": 3}, but_for=["x"]) == ""
    assert difference(ours, {**ours, "space.x": 3}, but_for=["y"]) != ""
    # A seed without effect on the rows that matter is none that matters.
    assert difference(ours, {**ours, "split.seed": 2, "split_rows.weights": "u"}) == ""
    assert (
        difference(ours, {**ours, "split.seed": 2, "split_rows.validation": "u"})
        == "split.seed was 1, is 2"
    )
    assert (
        difference(ours, {**ours, "split_rows.validation": "u"}) == "other rows are in validation"
    )
    newer = {**ours, "space.z": 5}
    assert difference(ours, newer) == difference(newer, ours) == ""
