"""The benchmark of fitnesses: what is truth, whose turn it is, and the released fitness."""

from __future__ import annotations

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


def test_fitnesses_are_functions_that_leave_the_supernet_alone(monkeypatch):
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
    net = space.make_supernet(config, data.spec)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    architectures = [net.random_architecture(generator) for _ in range(3)]
    fitnesses = [released_fitness(net, data, 1)]
    fitnesses += [
        our_fitness(space, config, data, net, each, 1)
        for each in ("0:loss", "64:loss", "64:recall5")
    ]
    for fitness in fitnesses:
        first = [fitness(architecture) for architecture in architectures]
        assert len(set(first)) > 1
        assert first == [fitness(architecture) for architecture in reversed(architectures)][::-1]
    # Nearly the loss of our evaluation: all validation rows, statistics of other training rows.
    assert fitnesses[0](architectures[0]) == pytest.approx(fitnesses[2](architectures[0]), abs=0.1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ConfigError, match="--ours 'loss': give ROWS:SELECTION"):
        our_fitness(space, config, data, net, "loss", 1)
