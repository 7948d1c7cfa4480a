"""Two-tower baselines through the scripts: architecture files, training, search."""

from __future__ import annotations

import json
import math

import pytest

from dnas.cli import main as console
from dnas.cli import search, train
from dnas.training.retrieval import RANKING_METRICS

DATA = ("--data_set=towers_synthetic", "--synthetic_users=120", "--synthetic_items=150")
SPACE = ("--search_space=tower_baselines", "--embedding_dimension=8", "--output_dimension=16")


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Architecture files of the three sizes."""
    folder = tmp_path_factory.mktemp("towers") / "architectures"
    words = ("architectures", *SPACE, *DATA, "--each", "model/kind", f"--out={folder}")
    assert console.main(list(words)) == 0
    return folder


@pytest.fixture
def trained(files, tmp_path):
    def run(name: str, *flags: str) -> dict:
        path = tmp_path / name / "result.json"
        code = train.main(
            [
                f"--sampled_arch={files / 'googlednn_l.json'}",
                *DATA,
                "--batch_size=128",
                "--n_epochs=3",
                "--optimizer=adam",
                "--lr=0.003",
                "--lr_schedule=constant",
                f"--save_metrics_param={path}",
                "--host_gpu_id=cpu",
                *flags,
            ]
        )
        assert code == 0
        return json.loads(path.read_text())

    return run


def test_train_and_report_every_protocol(trained):
    result = trained("a", "--check_test_set_performance")
    assert result["selection"] == {"metric": "loss_corrected", "maximize": False}
    assert [entry["epoch"] for entry in result["epochs"]] == [1.0, 2.0, 3.0]
    assert set(result["validation"]) == {"loss", "loss_corrected", *RANKING_METRICS}
    protocols = ("paper", "temporal", "temporal_exclude")
    assert set(result["test"]) == {f"{n}.{p}" for n in RANKING_METRICS for p in protocols}
    # Popular items of the user's group: far better than 50 of 150 items at random.
    assert result["test"]["recall50.temporal_exclude"] > 0.5
    assert result["epochs"][-1]["train_loss"] < result["epochs"][0]["train_loss"]


def test_the_number_of_users_ranked_at_a_time_changes_nothing(trained):
    """But for the last bits of the towers' own sums."""
    few = trained("few", "--eval_batch_size=50")["validation"]
    many = trained("many")["validation"]
    assert few["loss"] == pytest.approx(many["loss"], rel=1e-6)
    assert few["recall50"] == pytest.approx(many["recall50"], abs=0.01)


def test_settings_of_the_task_are_those_of_the_architecture_file_unless_replaced(trained):
    result = trained(
        "b", "--space_overrides", "selection=recall50", "temperature=0.2", "--patience=1"
    )
    assert result["selection"] == {"metric": "recall50", "maximize": True}
    best = max(entry["validation"]["recall50"] for entry in result["epochs"])
    assert result["validation"]["recall50"] == best
    config = result["architecture"]["space_config"]
    assert (config["selection"], config["temperature"]) == ("recall50", 0.2)


@pytest.mark.slow
def test_a_search_among_the_baselines(tmp_path):
    """Nothing one would do; but the space is whole, soft samples and the penalty included."""
    path = tmp_path / "result.json"
    code = search.main(
        [
            *SPACE,
            *DATA,
            "--weights_batch_size=64",
            "--arch_params_batch_size=64",
            "--n_total_s_net_training_epochs=2",
            "--num_warmup_epochs=1",
            "--architecture_sampling=1:2",
            "--weights_lr=0.05",
            "--validate",
            f"--save_metrics_param={path}",
            "--host_gpu_id=cpu",
        ]
    )
    assert code == 0
    result = json.loads(path.read_text())
    assert len(result["architectures"]) == 6  # the most likely, two drawn, three at random
    assert math.isfinite(result["validation"]["loss_corrected"])
    assert result["validation"]["recall50"] > 0.3
