"""Fine-tuning of the last layer, and evaluation with shared weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from dnas.core import Architecture, UniformPrior
from dnas.core.schedules import cosine
from dnas.data import TensorBatch
from dnas.data.first_rows import FirstRows
from dnas.errors import ConfigError, DataError
from dnas.metrics import BinaryMetrics
from dnas.strategies.evaluator import SharedWeightsEvaluator
from dnas.strategies.fine_tune import FineTune, fine_tune_head, minibatch
from dnas.training.task import CLICKS
from tests.one_shot_toys import HIDDEN, Prefix, regression_batches
from tests.toys import Recording, card_net, click_batches

BCE = nn.functional.binary_cross_entropy_with_logits
TUNE = FineTune(steps=40, batch_size=8, lr=0.1)
SCORE = Recording(regression_batches(3, seed=5))
TUNING = Recording(regression_batches(4, seed=6))  # 64 rows: five times round in 40 steps of 8


def prefix(seed=0):
    torch.manual_seed(seed)
    return Prefix()


def architectures(net):
    prior = UniformPrior(net)
    generator = torch.Generator().manual_seed(1)
    return [prior.candidate(generator) for _ in range(6)]


def evaluator(net, **changes):
    arguments = {"tuning_rows": TUNING, "fine_tune": TUNE}
    return SharedWeightsEvaluator(net, CLICKS, SCORE, **{**arguments, **changes})


# -------------------------------------------------------------------------------- fine-tuning


def test_minibatches_go_round_by_hand():
    """Steps of 4 over 10 rows: 0-3, 4-7, 8-1, 2-5, 6-9, and again."""
    rows = torch.arange(10)
    seen = [rows[minibatch(step, 4, 10)].tolist() for step in range(6)]
    assert seen == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 0, 1], [2, 3, 4, 5], [6, 7, 8, 9], [0, 1, 2, 3],
    ]  # fmt: skip
    assert rows[:3][minibatch(1, 4, 3)].tolist() == [1, 2, 0, 1]


def test_two_steps_by_hand():
    """A feature of 2, label 0.5, squared error; w = 1, b = 0.5: gradients 8 and 4.

    Of two steps without warm-up the first has the whole learning rate, the second half of it.
    """
    settings = FineTune(steps=2, batch_size=1, lr=0.6, lr_warmup_fraction=0.0, eps=1.0)
    features, labels = torch.tensor([[2.0]]), torch.tensor([0.5])
    weight, bias = torch.tensor([1.0]), torch.tensor(0.5)
    tuned, _ = fine_tune_head(features, labels, weight, bias, nn.MSELoss(), settings)
    first = 1 - 0.6 * 8 / (8 + 1)
    first_bias = 0.5 - 0.6 * 4 / (4 + 1)
    gradient = 2 * (2 * first + first_bias - 0.5) * 2
    expected = first - 0.3 * gradient / ((64 + gradient**2) ** 0.5 + 1)
    assert tuned.item() == pytest.approx(expected, rel=1e-6)
    assert (weight.item(), bias.item()) == (1.0, 0.5)


@pytest.mark.parametrize("width", HIDDEN)
@pytest.mark.parametrize("function", ["relu", "sin"])
def test_fine_tuning_is_training_the_last_layer_in_the_network(width, function):
    """The whole network runs forward on the same minibatches, and only its last layer is trained.

    Of the last layer, inputs that the architecture does not have get no gradient.
    """
    net = prefix()
    architecture = Architecture({"width/hidden": width, "function/hidden": function})
    x = torch.cat([batch.inputs[0] for batch in TUNING.items])
    y = torch.cat([batch.labels for batch in TUNING.items])
    with torch.no_grad():
        features = net.head_features(x, architecture=architecture)
    weight, bias = fine_tune_head(features, y, *net.head(architecture), BCE, TUNE)

    sample = net.one_hot_sample(architecture)
    optimizer = torch.optim.Adagrad(net.last.parameters(), lr=TUNE.lr, eps=TUNE.eps)
    factor = cosine(40, 4)
    for step in range(40):
        rows = slice(step * 8 % 64, step * 8 % 64 + 8)
        optimizer.param_groups[0]["lr"] = TUNE.lr * factor(step)
        optimizer.zero_grad()
        BCE(net(x[rows], sample=sample), y[rows]).backward()
        optimizer.step()
    torch.testing.assert_close(weight, net.last.weight[0, :width], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(bias, net.last.bias[0], rtol=1e-5, atol=1e-6)


def test_fine_tuning_improves_what_it_trains():
    net = prefix()
    plain, tuned = evaluator(net, tuning_rows=None, fine_tune=None), evaluator(net)
    before, after = (
        [evaluate(architecture)["logloss"] for architecture in architectures(net)]
        for evaluate in (plain, tuned)
    )
    assert sum(after) < sum(before) - 0.1


# -------------------------------------------------------------------------------- evaluation


def test_metrics_are_those_of_the_network():
    net = prefix()
    evaluate = evaluator(net, tuning_rows=None, fine_tune=None)
    for architecture in architectures(net):
        metrics = BinaryMetrics()
        for batch in SCORE.items:
            metrics.update(
                net.head_features(*batch.inputs, architecture=architecture)
                @ net.head(architecture)[0]
                + net.head(architecture)[1],
                batch.labels,
            )
        assert evaluate(architecture) == pytest.approx(metrics.compute(), rel=1e-5)


def test_no_steps_of_fine_tuning_change_nothing():
    """A learning rate of nearly 0 gives what the untouched head gives."""
    net = prefix()
    still = evaluator(net, fine_tune=replace(TUNE, lr=1e-30))
    plain = evaluator(net, tuning_rows=None, fine_tune=None)
    for architecture in architectures(net):
        assert still(architecture) == pytest.approx(plain(architecture), rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_changes_nothing_and_depends_on_nothing_before_it(training):
    net = prefix().train(training)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    states = torch.get_rng_state()
    candidates = architectures(net)
    first = [evaluator(net)(architecture) for architecture in candidates]
    evaluate = evaluator(net)
    torch.manual_seed(4)
    backwards = [evaluate(architecture) for architecture in reversed(candidates)]
    assert first == backwards[::-1]
    assert net.training is training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    torch.set_rng_state(states)


def test_features_are_computed_once():
    """40 steps of fine-tuning take one forward pass over each of the rows."""
    net = prefix()
    evaluate = evaluator(net)
    rows = []
    net.first.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    evaluate(architectures(net)[0])
    assert sum(rows) == 64 + 48


def test_supernets_without_a_head():
    net = card_net()
    rows = Recording(click_batches(3, seed=2))
    architecture = UniformPrior(net).candidate(torch.Generator().manual_seed(0))
    found = SharedWeightsEvaluator(net, CLICKS, rows)(architecture)
    built = net.build(architecture, inherit_weights=True)
    metrics = BinaryMetrics()
    for batch in rows.items:
        metrics.update(built(*batch.inputs), batch.labels)
    assert found == pytest.approx(metrics.compute(), rel=1e-5)
    with pytest.raises(
        ConfigError, match=r"DLRMSuperNet has no linear last layer .* --finetune_steps=0"
    ):
        SharedWeightsEvaluator(net, CLICKS, rows, tuning_rows=rows, fine_tune=TUNE)


def test_a_candidate_that_is_not_finite_has_no_score(caplog):
    net = prefix()
    with torch.no_grad():
        net.last.bias.fill_(float("nan"))
    found = evaluator(net)(architectures(net)[0])
    assert found == {"logloss": None}
    assert CLICKS.score(found) == float("inf")
    assert "candidate" in caplog.text


def test_fine_tuning_needs_rows_and_rows_need_fine_tuning():
    with pytest.raises(ConfigError, match="give both or neither"):
        evaluator(prefix(), tuning_rows=None)


@pytest.mark.parametrize("changes", [{"steps": 0}, {"batch_size": 0}, {"lr": 0.0}])
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ConfigError, match="finetune_"):
        FineTune(**changes)


# -------------------------------------------------------------------------------- rows


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 40, 48, 1000, 0])
def test_first_rows(rows):
    """Of 3 batches of 16."""
    whole = torch.cat([batch.labels for batch in SCORE.items])
    part = FirstRows(SCORE, rows)
    batches = list(part.batches(0, len(part)))
    assert torch.equal(torch.cat([b.labels for b in batches]), whole[: rows or None])
    assert [len(b.labels) for b in batches[:-1]] == [16] * (len(part) - 1)
    with pytest.raises(DataError, match="there are"):
        list(part.batches(0, len(part) + 1))


def test_rows_that_cannot_be_cut():
    class Whole:
        inputs = ()
        labels = torch.zeros(4)

    batches = Recording([Whole(), Whole()])
    assert len(FirstRows(batches, 8)) == 2
    with pytest.raises(DataError, match="or take a multiple of 4 rows"):
        FirstRows(batches, 6)
    assert isinstance(SCORE.items[0], TensorBatch)
