"""Batch norms with statistics of each candidate, and batches that do not tell."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from dnas.cli.scoring import ScoringFlags
from dnas.core import UniformPrior
from dnas.data import TensorBatch
from dnas.errors import ConfigError, DataError
from dnas.metrics import BinaryMetrics
from dnas.strategies.evaluation_pool import evaluations
from dnas.strategies.evaluator import SharedWeightsEvaluator
from dnas.strategies.recalibration import batch_norms, recalibrated
from dnas.strategies.shared_module import SharedModule
from dnas.strategies.telling import TellingBatches
from dnas.training.task import CLICKS
from tests.one_shot_toys import Normed, Prefix, recalibrated_evaluator, regression_batches
from tests.toys import Recording


def normed():
    torch.manual_seed(0)
    net = Normed()
    with torch.no_grad():
        for norm in batch_norms(net):
            norm.running_mean.fill_(3.0)
            norm.running_var.fill_(7.0)
    return net


def architectures(net):
    return [net.validate({"scale/of": c, "scale/sign": s}) for c in (1, 4, 16) for s in (1, -1)]


def column(*values):
    return TensorBatch((torch.tensor(values)[:, None],), torch.zeros(len(values)))


def test_statistics_by_hand():
    """Of the batches (0, 2) and (4, 8): means 1 and 6, variances 2 and 8 (divided by n - 1)."""
    norm = nn.BatchNorm1d(1, momentum=0.3)
    batches = [column(0.0, 2.0), column(4.0, 8.0)]
    with recalibrated(norm, lambda batch: norm(*batch.inputs), batches):
        assert (norm.running_mean.item(), norm.running_var.item()) == (3.5, 5.0)
        assert not norm.training
        expected = (10 - 3.5) / (5 + norm.eps) ** 0.5
        assert norm(torch.tensor([[10.0]])).item() == pytest.approx(expected)
    assert (norm.running_mean.item(), norm.running_var.item(), norm.momentum) == (0.0, 1.0, 0.3)
    assert norm.training


def test_layers_behind_see_what_was_normalised_by_the_batch():
    """The second norm is fed by the first one's output in training mode: 0 and n/(n-1)."""
    net = nn.Sequential(nn.BatchNorm1d(1, eps=1e-9), nn.BatchNorm1d(1))
    with recalibrated(net, lambda batch: net(*batch.inputs), [column(5.0, 9.0), column(1.0, 2.0)]):
        assert net[1].running_mean.item() == pytest.approx(0.0)
        assert net[1].running_var.item() == pytest.approx(2.0)


def test_only_batch_norms_train_and_those_not_used_keep_what_they_have():
    net = normed()
    (batch,) = regression_batches(1)
    sample = net.one_hot_sample(architectures(net)[0])
    modes = []
    net.norm.register_forward_hook(
        lambda *_: modes.append((net.norm.training, net.dropout.training, torch.is_grad_enabled()))
    )
    with recalibrated(net, lambda b: net(*b.inputs, sample=sample), [batch]):
        assert modes == [(True, False, False)]
        assert net.unused.running_mean.tolist() == [3.0] * 6
        assert net.norm.running_mean.tolist() != [3.0] * 6


@pytest.mark.parametrize("training", [True, False])
def test_the_supernet_is_never_written_to(training):
    net = normed().train(training)
    tensors = [*net.parameters(), *net.buffers()]
    before = [(tensor.data_ptr(), tensor._version, tensor.clone()) for tensor in tensors]
    evaluate = recalibrated_evaluator(net)
    candidates = architectures(net)
    first = [evaluate(architecture) for architecture in candidates]
    assert first == [evaluate(architecture) for architecture in reversed(candidates)][::-1]
    for after, (place, version, value) in zip(
        [*net.parameters(), *net.buffers()], before, strict=True
    ):
        assert (after.data_ptr(), after._version) == (place, version)
        assert torch.equal(after, value)
    assert [module.training for module in net.modules()] == [training] * len(list(net.modules()))
    assert net.norm.momentum == 0.1


def test_an_error_leaves_the_supernet_as_it_was():
    net = normed()
    buffer = net.norm.running_mean
    with pytest.raises(ZeroDivisionError), recalibrated(net, lambda b: 1 / 0, [None]):
        pass
    assert net.norm.running_mean is buffer
    assert net.training


@pytest.mark.parametrize("recalibrate", [True, False])
def test_a_frozen_batch_norm_stays_frozen(recalibrate):
    net = normed()
    net.norm.eval()
    modes = {name: module.training for name, module in net.named_modules()}
    evaluate = recalibrated_evaluator(net)
    if not recalibrate:
        evaluate = SharedWeightsEvaluator(net, CLICKS, evaluate.score_rows)
    evaluate(architectures(net)[0])
    assert {name: module.training for name, module in net.named_modules()} == modes
    assert modes[""]
    assert not modes["norm"]


def test_metrics_are_those_of_a_copy_with_its_own_statistics():
    net = normed()
    evaluate = recalibrated_evaluator(net)
    plain = SharedWeightsEvaluator(net, CLICKS, evaluate.score_rows)
    for architecture in architectures(net):
        sample = net.one_hot_sample(architecture)
        own = copy.deepcopy(net).eval()
        own.norm.reset_running_stats()
        own.norm.momentum = None
        own.norm.train()
        metrics = BinaryMetrics()
        with torch.no_grad():
            for batch in regression_batches(4, seed=6):
                own(*batch.inputs, sample=sample)
            own.eval()
            for batch in regression_batches(3, seed=5):
                metrics.update(own(*batch.inputs, sample=sample), batch.labels)
        assert evaluate(architecture) == metrics.compute()
        assert abs(plain(architecture)["logloss"] - metrics.compute()["logloss"]) > 1e-3


def test_an_incomplete_last_batch_is_left_out():
    net = normed()
    rows = regression_batches(3, seed=6)
    cut = [*rows[:2], TensorBatch((rows[2].inputs[0][:1],), rows[2].labels[:1])]
    first, second = (
        SharedWeightsEvaluator(net, CLICKS, Recording(rows), recalibration_rows=Recording(part))
        for part in (cut, rows[:2])
    )
    assert first(architectures(net)[1]) == second(architectures(net)[1])


def test_other_processes_have_the_same_metrics_and_do_not_write_to_shared_memory(monkeypatch):
    packed = []
    original = SharedModule.pack.__func__
    monkeypatch.setattr(
        SharedModule, "pack", classmethod(lambda c, m: packed.append(original(c, m)) or packed[0])
    )
    net = normed()
    candidates = architectures(net)
    alone = [recalibrated_evaluator(net)(architecture) for architecture in candidates]
    with evaluations(net, recalibrated_evaluator, processes=2) as evaluate:
        before = packed[0].block.clone()
        assert list(evaluate(candidates)) == alone
        assert torch.equal(packed[0].block, before)


# -------------------------------------------------------------------------------- flags


def test_rows_are_sixteen_thousand_where_there_is_a_batch_norm():
    assert ScoringFlags().recalibration(Normed()) == 4096
    assert ScoringFlags().recalibration(Prefix()) == 0
    assert ScoringFlags(recalibration_rows=0).recalibration(Normed()) == 0
    assert ScoringFlags(recalibration_rows=50).recalibration(Normed()) == 50
    with pytest.raises(ConfigError, match="--recalibration_rows=50: Prefix has no batch norm"):
        ScoringFlags(recalibration_rows=50).recalibration(Prefix())
    with pytest.raises(ConfigError, match="--recalibration_rows=1: a single row"):
        ScoringFlags(recalibration_rows=1)
    with pytest.raises(ConfigError, match="--recalibration_rows must be at least -1"):
        ScoringFlags(recalibration_rows=-2)


def test_rows_are_part_of_the_fingerprint():
    assert ScoringFlags(recalibration_rows=0).fingerprint() != ScoringFlags().fingerprint()


# -------------------------------------------------------------------------------- what tells


def test_batches_that_do_not_tell_are_not_even_made():
    batches = regression_batches(7)
    for number, batch in enumerate(batches):
        batch.labels.fill_(number)
    loader = Recording(batches)
    telling = TellingBatches(loader, lambda labels: int(labels[0]) in (1, 2, 5), "recall50")
    loader.steps.clear()
    for _ in range(2):
        assert [int(b.labels[0]) for b in telling.batches(0, len(telling))] == [1, 2, 5]
    assert loader.steps == [1, 2, 5] * 2
    assert [int(b.labels[0]) for b in telling.batches(1, 3)] == [2, 5]
    assert list(telling.batches(2, 2)) == []
    with pytest.raises(DataError, match="there are 3 batches"):
        list(telling.batches(0, 4))
    with pytest.raises(ConfigError, match="none of 7 batches tells on 'recall50'"):
        TellingBatches(loader, lambda labels: False, "recall50")


def test_a_candidate_is_judged_by_what_tells():
    net = Prefix()
    batches = regression_batches(4, seed=5)
    task = replace(CLICKS, tells=lambda labels: bool(labels[0] == batches[2].labels[0]))
    wanted = [batch for batch in batches if task.tells(batch.labels)]
    assert 0 < len(wanted) < 4
    architecture = UniformPrior(net).candidate(torch.Generator().manual_seed(0))
    rows = []
    net.first.register_forward_hook(lambda module, inputs, output: rows.append(len(output)))
    found = SharedWeightsEvaluator(net, task, Recording(batches))(architecture)
    assert rows == [16] * len(wanted)
    assert found == SharedWeightsEvaluator(net, CLICKS, Recording(wanted))(architecture)
