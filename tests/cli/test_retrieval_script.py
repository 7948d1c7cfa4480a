"""Two-tower baselines through the scripts: architecture files, training, search."""

from __future__ import annotations

import json
import math

import pytest
import torch

from dnas import load_model
from dnas.cli import main as console
from dnas.cli import search, train
from dnas.data.retrieval import (
    RetrievalDataConfig,
    corpus_inputs,
    prepare_retrieval,
    user_requests,
)
from dnas.errors import JobError
from dnas.models.towers import item_matrix, top_k
from dnas.training.retrieval import RANKING_METRICS
from supernets.towers import TOWER_BASELINES, TowerBaselinesConfig

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


def test_what_was_trained_is_loaded_and_serves(trained, tmp_path):
    result = trained("a", "--space_overrides", "output_dimension=12")
    model = load_model(tmp_path / "a")
    assert not model.training
    data = prepare_retrieval(RetrievalDataConfig(synthetic_users=120, synthetic_items=150))
    metrics = TOWER_BASELINES.task_of(TowerBaselinesConfig()).metrics()
    loader = data.loader("validation", 64, shuffle=False, seed=0, drop_last=False)
    with torch.no_grad():
        for batch in loader.batches(0, len(loader)):
            metrics.update(model(*batch.inputs), batch.labels)
    assert metrics.compute() == pytest.approx(result["validation"], rel=1e-5)

    corpus = item_matrix(model.item, *corpus_inputs(data))
    assert corpus.shape == (150, 12)
    asked = user_requests(data, data.interactions.user_numbers([3, 120, 1]))
    with torch.no_grad():
        users = model.user(asked.fields, asked.history)
    ids, _ = top_k(users, corpus, 10, asked.seen)
    assert data.interactions.item_keys[ids].shape == (3, 10)
    for found, seen in zip(ids.tolist(), asked.seen.tolist(), strict=True):
        assert not set(found) & set(seen)
        assert len(set(found)) == 10


def test_no_model_where_no_training_succeeded(trained, tmp_path):
    with pytest.raises(JobError, match=r"result\.json: there is no such file; give the folder of"):
        load_model(tmp_path)
    trained("a")
    result = tmp_path / "a" / "result.json"
    whole = json.loads(result.read_text())
    weights = tmp_path / "a" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(JobError, match=r"model\.safetensors: not the weights of the architecture"):
        load_model(tmp_path / "a")
    result.write_text(json.dumps(whole | {"architecture": None}))
    with pytest.raises(JobError, match="no architecture in it: the training did not succeed"):
        load_model(tmp_path / "a")


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
