"""The space of two-tower baselines: costs, models, settings."""

from __future__ import annotations

import pytest
import torch

from dnas.core import Sample
from dnas.data.retrieval import RetrievalDataConfig
from dnas.errors import ConfigError
from dnas.spaces import find_space, load_architecture, make_record
from dnas.training.retrieval import RETRIEVAL
from supernets import TOWER_BASELINES, TowerBaselinesConfig
from tests.tower_cases import MOVIELENS, SPEC, inputs

SMALL = TowerBaselinesConfig(embedding_dimension=3, output_dimension=4)


@pytest.mark.parametrize(
    ("kind", "params_millions", "flops_millions", "weights"),
    # Table 4 of the AutoTower paper, for MovieLens; weights without biases.
    [
        ("googlednn_l", 0.21, 0.14, 204_800),
        ("googlednn_m", 0.43, 0.25, 425_984),
        ("googlednn_h", 1.56, 0.81, 1_556_480),
    ],
)
def test_published_complexity(kind, params_millions, flops_millions, weights):
    cost = TOWER_BASELINES.make_supernet(TowerBaselinesConfig(), MOVIELENS).cost(
        {"model/kind": kind}
    )
    assert round(cost["paper_params"] / 1e6, 2) == params_millions
    assert round(cost["paper_flops"] / 1e6, 2) == flops_millions
    assert cost["flops"] == 2 * weights
    assert cost["paper_flops"] == (weights + 1024 * 64) / 2
    assert cost["embedding_params"] == 16 * (944 + 8 + 2 + 21 + 1683 + 10 + 20)
    assert cost["params"] == cost["paper_params"] + cost["embedding_params"]


def test_a_mixture_is_of_unit_vectors():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    batch = inputs(5)
    found = net(*batch, sample=net.soft_sample(1.0, 5))
    assert found.shape == (10, 3, 4)  # three interests
    torch.testing.assert_close(found.norm(dim=2), torch.ones(10, 3))


def test_user_and_item_of_a_row_have_the_same_sample():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    batch = inputs(3)
    mixed = net(*batch, sample=Sample({"model": torch.eye(12)[:3].unsqueeze(1)}))
    for row, kind in enumerate(("googlednn_l", "googlednn_m", "googlednn_h")):
        alone = net(*batch, sample=net.one_hot_sample({"model/kind": kind}))
        torch.testing.assert_close(mixed[[row, 3 + row]], alone[[row, 3 + row]])


def test_more_items_than_users_under_one_sample():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    users, history, items, bags = inputs(6)
    found = net(users[:2], history[:2], items, bags, sample=net.probability_sample())
    assert found.shape == (8, 3, 4)
    own = Sample({"model": torch.eye(12)[[0, 2]].unsqueeze(1)})
    mean = Sample({"model": torch.eye(12)[[0, 2]].mean(0, keepdim=True).unsqueeze(1)})
    batch = users[:2], history[:2], items, bags
    torch.testing.assert_close(net(*batch, sample=own)[2:], net(*batch, sample=mean)[2:])


def test_a_built_model_shares_its_own_tables_only():
    net = TOWER_BASELINES.make_supernet(SMALL, SPEC)
    for inherit in (False, True):
        built = net.build({"model/kind": "googlednn_l"}, inherit_weights=inherit)
        assert built.user.inputs.items is built.item.inputs


def test_file_to_model(tmp_path):
    space = find_space("tower_baselines")
    net = space.make_supernet(SMALL, SPEC)
    architecture = net.validate({"model/kind": "senet_m"})
    path = tmp_path / "one.json"
    make_record(space, space.name, SMALL, SPEC, net, architecture, {}).save(path)
    model = load_architecture(path)
    assert model(*inputs(4)).shape == (8, 4)


def test_settings_decide_the_task():
    config = TowerBaselinesConfig(
        temperature=0.1, mask_accidental_hits=True, corrected_loss=False, selection="ndcg50"
    )
    task = TOWER_BASELINES.task_of(config)
    assert (task.selection, task.maximize) == ("ndcg50", True)
    assert (task.loss.temperature, task.loss.mask_accidental_hits) == (0.1, True)
    assert not task.loss.corrected
    assert TOWER_BASELINES.task_of(TowerBaselinesConfig()).loss == RETRIEVAL.loss


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, "--temperature must be positive, but got 0"),
        ({"selection": "accuracy"}, "--selection 'accuracy': must be one of loss"),
        ({"output_dimension": 0}, "--output_dimension must be at least 1, but got 0"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        TowerBaselinesConfig(**settings)


def test_what_is_measured_of_synthetic_data():
    """The metrics of a batch each, of an untrained model: all names, in range."""
    data = TOWER_BASELINES.prepare(RetrievalDataConfig(synthetic_users=30, synthetic_items=60))
    model = TOWER_BASELINES.make_supernet(SMALL, data.spec).build({"model/kind": "googlednn_l"})
    task = TOWER_BASELINES.task_of(SMALL)
    for split, wanted in (
        ("validation", {"loss", "loss_corrected", "recall50", "ndcg50_hits", "mrr"}),
        ("test", {f"recall50{s}" for s in (".paper", ".temporal", ".temporal_exclude")}),
    ):
        metrics = task.metrics()
        loader = data.loader(split, 16, shuffle=False, seed=0, drop_last=False, flag="")
        for batch in loader.batches(0, len(loader)):
            with torch.no_grad():
                metrics.update(model(*batch.inputs), batch.labels)
        found = metrics.compute()
        assert wanted <= set(found)
        assert all(0 <= v <= 1 for name, v in found.items() if "loss" not in name)
