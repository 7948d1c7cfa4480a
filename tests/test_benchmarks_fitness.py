"""The benchmark of fitnesses: what is truth, whose turn it is, and the released fitness."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import supernets  # noqa: F401  (registers the search spaces)
from benchmarks.autotower_fitness import (
    agreement,
    judged,
    lower_is_better,
    our_fitness,
    read_truth,
    released_fitness,
)
from dnas.core import Architecture, ArchitectureRecord
from dnas.data.retrieval import RetrievalDataConfig
from dnas.errors import ConfigError
from dnas.files import write_json
from dnas.spaces import find_space
from dnas.strategies.recalibration import batch_norms
from dnas.testing.contracts.given import perturbed
from dnas.training.retrieval import UNCORRECTED

NAMES = [Architecture({"a/b": n}) for n in range(6)]


def result(folder, number, recall, *, space="autotower", status="succeeded"):
    record = ArchitectureRecord(NAMES[number], space, {}, {}, NAMES[number].id)
    write_json(
        folder / "result.json",
        {
            "kind": "sampled",
            "status": status,
            "architecture": record.to_json(),
            "test": {"recall50.paper": recall},
        },
    )


def test_truth_is_the_mean_of_an_architectures_trainings(tmp_path):
    for job, (number, recall) in enumerate([(0, 0.2), (1, 0.3), (0, 0.4), (2, 0.1)]):
        result(tmp_path / "run" / str(job), number, recall)
    result(tmp_path / "failed", 3, 0.9, status="failed")
    metric = "test:recall50.paper"
    truth = read_truth([tmp_path], [metric], "autotower")
    assert [each.architecture for each in truth] == NAMES[:3]
    assert [each.results[metric] for each in truth] == pytest.approx([0.3, 0.3, 0.1])
    with pytest.raises(ConfigError, match="has no 'mrr' in 'test'"):
        read_truth([tmp_path], ["test:mrr"], "autotower")
    with pytest.raises(ConfigError, match="an architecture of autotower, not of emb_card"):
        read_truth([tmp_path], [metric], "emb_card")
    with pytest.raises(ConfigError, match="1 architectures; a correlation needs at least 3"):
        read_truth([tmp_path / "run" / "0"], [metric], "autotower")


def test_fitnesses_take_turns_and_failures_are_worst():
    order, ticks = [], iter(range(1000))
    scores = {
        "a": dict(zip(NAMES, (1.0, math.inf, 3.0), strict=False)),
        "b": dict(zip(NAMES, (3.0, 2.0, 1.0), strict=False)),
    }

    def fitness(name):
        return lambda architecture: order.append(name) or scores[name][architecture]

    found, seconds = judged({n: fitness(n) for n in scores}, NAMES[:3], lambda: next(ticks))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [1.0, 4.0, 3.0], "b": [3.0, 2.0, 1.0]}
    assert seconds == {"a": 1, "b": 1}


def test_agreement_by_hand():
    """Of 15 pairs the second fitness has one wrong: tau = 13/15, which is 28/15 above -1."""
    truth = lower_is_better("test:recall50.paper", [0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    scores = {"wrong": [6.0, 5, 4, 3, 2, 1], "good": [1.0, 2, 4, 3, 5, 6]}
    found = agreement(scores, truth)
    assert found["wrong"][0].value == -1
    assert found["good"][0].value == pytest.approx(13 / 15)
    assert found["good"][1].value == pytest.approx(28 / 15)
    assert lower_is_better("validation:loss", [1.0, 2.0]) == [1.0, 2.0]


@pytest.fixture
def setting(monkeypatch):
    """Space, configuration, data, and a supernet whose architectures differ in their losses."""
    monkeypatch.setattr("benchmarks.autotower_fitness._TRAINING_BATCHES", 3)
    monkeypatch.setattr("benchmarks.autotower_fitness._BATCH", 64)
    space = find_space("autotower")
    config = space.config_class(user_blocks=2, item_blocks=2)
    data = space.prepare(
        RetrievalDataConfig(
            data_set="towers_synthetic",
            synthetic_users=30,
            synthetic_items=60,
            synthetic_events=30,
            validation_batch_size=32,
        )
    )
    torch.manual_seed(0)
    net = perturbed(space.make_supernet(config, data.spec))
    for norm in batch_norms(net):
        norm.running_mean.normal_(std=0.5)
        norm.running_var.uniform_(0.2, 5.0)
    return space, config, data, net


def some_architectures(net, count=3):
    generator = torch.Generator().manual_seed(0)
    return [net.random_architecture(generator) for _ in range(count)]


def loss_batches(data):
    loader = data.loader("validation", 1, shuffle=False, seed=1, drop_last=False)
    batches = list(loader.batches(0, -(-len(data.parts["validation"]) // 32)))
    assert 1 < len(batches) < 40
    return batches


def test_fitnesses_are_functions_that_leave_the_supernet_alone(setting):
    space, config, data, net = setting
    before = {name: value.clone() for name, value in net.state_dict().items()}
    architectures = some_architectures(net)
    fitnesses = [released_fitness(net, data, 1)]
    fitnesses += [
        our_fitness(space, config, data, net, each, 1)
        for each in ("0:loss", "64:loss", "64:recall5")
    ]
    for fitness in fitnesses:
        first = [fitness(architecture) for architecture in architectures]
        assert len(set(first)) > 1
        assert first == [fitness(architecture) for architecture in reversed(architectures)][::-1]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ConfigError, match="--ours 'loss': give ROWS:SELECTION"):
        our_fitness(space, config, data, net, "loss", 1)


def test_the_released_fitness_by_hand(setting):
    """Statistics from 0 and 1 through three batches in training mode, then 40 losses of cosines."""
    _, _, data, net = setting
    fitness = released_fitness(net, data, 7)
    training = data.loader("train", 64, shuffle=True, seed=7, drop_last=True)
    validation = loss_batches(data)
    found = []
    for architecture in some_architectures(net):
        own = copy.deepcopy(net).train()
        sample = own.one_hot_sample(architecture)
        for norm in batch_norms(own):
            norm.running_mean.zero_()
            norm.running_var.fill_(1.0)
        torch.manual_seed(7)
        for batch in training.batches(0, 3):
            own(*batch.inputs, sample=sample)
        own.eval()
        losses = []
        for batch in (validation * 40)[:40]:
            outputs = own(*batch.inputs, sample=sample).detach()
            losses.append(float(UNCORRECTED(outputs, batch.labels)))
        found.append(sum(losses) / 40)
        assert fitness(architecture) == pytest.approx(found[-1], rel=1e-12)
    assert max(found) - min(found) > 0.001  # far more than what is compared


def test_a_fitness_of_ours_by_hand(setting):
    """The mean loss of all validation batches, with the statistics that the supernet has."""
    space, config, data, net = setting
    fitness = our_fitness(space, config, data, net, "0:loss", 1)
    net.eval()
    found = []
    for architecture in some_architectures(net):
        sample, losses = net.one_hot_sample(architecture), []
        for batch in loss_batches(data):
            outputs = net(*batch.inputs, sample=sample).detach()
            losses.append(float(UNCORRECTED(outputs, batch.labels)))
        found.append(sum(losses) / len(losses))
        assert fitness(architecture) == pytest.approx(found[-1], rel=1e-12)
    assert max(found) - min(found) > 0.001
