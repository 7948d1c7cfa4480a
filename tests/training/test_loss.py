"""Losses that torch would compute, and that mean nothing."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

from dnas.errors import ConfigError, DataError
from dnas.training.loss import loss_of
from tests.toys import Scales, scale_batches, scale_manager


@pytest.mark.parametrize(
    ("outputs", "labels"),
    [((6, 1), (6,)), ((6,), (6, 1)), ((1,), (6,)), ((), (6,)), ((6, 1, 2), (6, 2)), ((1, 6), (6,))],
)
def test_rows_are_not_broadcast(outputs, labels):
    with pytest.raises(ConfigError, match=r"outputs of shape .* labels have .*squeeze\(1\)"):
        loss_of(mse_loss, torch.ones(outputs), torch.ones(labels))


@pytest.mark.parametrize(
    ("function", "outputs", "labels"),
    [
        (lambda o, y: ((o - y) ** 2).mean(), torch.ones(6, 1), torch.ones(6, dtype=torch.long)),
        (lambda o, y: (y.float() - o.sigmoid()).abs().mean(), torch.ones(6, 1), torch.ones(6)),
        (lambda o, y: torch.where(y > 0, o, -o).mean(), torch.ones(6, 1), torch.ones(6)),
        (lambda o, y: (o * y).mean(), torch.ones(6), torch.ones(6, 1)),
        (torch.nn.L1Loss(), torch.ones(6, 6), torch.ones(6)),
        (mse_loss, torch.ones(6, 1), torch.ones(6, dtype=torch.long)),
    ],
)
def test_rows_are_not_broadcast_inside_of_a_loss(function, outputs, labels):
    for _ in range(2):
        with pytest.raises(ConfigError, match="would compare rows with the labels of others"):
            loss_of(function, outputs, labels)


def quantiles(outputs, labels):
    return (outputs - labels).abs().mean()


def squeezes(outputs, labels):
    return mse_loss(outputs.squeeze(-1), labels)


def pairwise(outputs, labels):
    better = labels[:, None] > labels[None, :]
    return (torch.nn.functional.softplus(outputs - outputs.squeeze(1)) * better).mean()


def all_pairs(outputs, labels):
    return (outputs[:, None] - labels).abs().mean()


@pytest.mark.parametrize(
    ("function", "outputs", "labels"),
    [
        (mse_loss, torch.ones(6), torch.zeros(6)),
        (mse_loss, torch.ones(1, 1), torch.zeros(1, 1)),
        (cross_entropy, torch.ones(6, 3), torch.zeros(6, dtype=torch.long)),
        (cross_entropy, torch.ones(6, 1), torch.zeros(6, dtype=torch.long)),
        (cross_entropy, torch.ones(6, 3), torch.full((6, 3), 1 / 3)),
        (quantiles, torch.ones(6, 3), torch.zeros(6, 1)),
        (squeezes, torch.ones(6, 1), torch.zeros(6)),
        (squeezes, torch.ones(1, 4, 1), torch.zeros(1, 4)),
        (squeezes, torch.ones(6, 4, 1), torch.zeros(6, 4)),
        (pairwise, torch.ones(6, 1), torch.arange(6.0)),
        (all_pairs, torch.ones(6), torch.zeros(6)),
    ],
)
def test_losses_that_mean_something(function, outputs, labels):
    expected = function(outputs, labels)
    for _ in range(2):
        assert torch.equal(loss_of(function, outputs, labels), expected)


def test_a_loss_is_watched_once_with_more_than_one_row():
    names = []

    def loss(outputs, labels):
        names.append(type(torch.overrides._get_current_function_mode()).__name__)
        return squeezes(outputs, labels)

    for rows in (1, 6, 6, 1):
        loss_of(loss, torch.ones(rows, 1), torch.ones(rows))
    assert names == ["RowMixing", "RowMixing", "NoneType", "NoneType"]


def test_a_single_row_hides_nothing_from_the_next_batch():
    def loss(outputs, labels):
        return quantiles(outputs, labels)

    loss_of(loss, torch.ones(1, 1), torch.ones(1))
    with pytest.raises(ConfigError, match="outputs of shape"):
        loss_of(loss, torch.ones(6, 1), torch.ones(6))


def test_a_loss_for_each_row():
    with pytest.raises(ConfigError, match=r"gives shape \(6,\); .*reduction='mean'"):
        loss_of(lambda o, y: (o - y) ** 2, torch.ones(6), torch.zeros(6))
    with pytest.raises(ConfigError, match="loss_function gives a float"):
        loss_of(lambda o, y: 3.0, torch.ones(6), torch.zeros(6))


def test_outputs_that_are_no_tensor():
    with pytest.raises(ConfigError, match="forward gives a tuple; return one tensor"):
        loss_of(mse_loss, (torch.ones(6),), torch.zeros(6))


class Column(Scales):
    """``(B, 1)`` instead of ``(B,)``."""

    def forward(self, x, *, sample):
        return super().forward(x, sample=sample)[:, None]


class Ignores(Scales):
    def forward(self, x, *, sample):
        return (x * self.w).sum(1)


def test_a_search_refuses_them():
    with pytest.raises(ConfigError, match=r"shape \(32, 1\), but the labels have \(32,\)"):
        scale_manager(Column()).train_dnas()


@pytest.mark.parametrize("settings", [{}, {"use_hw_cost": True}])
def test_a_search_whose_forward_ignores_the_sample(settings):
    with pytest.raises(Exception, match=r"Ignores.forward ignores the sample: .* multiply"):
        scale_manager(Ignores(), **settings).train_dnas()


class Odd:
    """A loader of anything."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 4

    def batches(self, start, stop):
        return iter([self.item] * (stop - start))


class Bare:
    """Its inputs are a tensor, of which each row would be an argument."""

    def __init__(self):
        self.inputs, self.labels = torch.ones(3, 4), torch.ones(3)

    def to(self, device):
        return self


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((torch.ones(3, 4), torch.ones(3)), "gave a tuple without inputs and labels and to"),
        (Bare(), r"Bare.inputs is a Tensor; it must be the tuple of forward's inputs, \(x,\)"),
    ],
)
def test_batches_of_a_loader(item, message):
    with pytest.raises(DataError, match=message):
        scale_manager(w_dataloader=Odd(item)).train_dnas()


@pytest.mark.parametrize("loader", [None, 3, lambda: scale_batches()])
def test_what_is_no_loader(loader):
    with pytest.raises(DataError, match="not a loader; give an object with __len__ and batches"):
        scale_manager(w_dataloader=loader)


def test_what_is_no_supernet():
    with pytest.raises(ConfigError, match="super_net is a Linear; give an instance of a SuperNet"):
        scale_manager(torch.nn.Linear(4, 1))


def test_a_supernet_whose_choices_are_in_a_list():
    net = Scales()
    choice = net.choice
    del net.choice
    net.found = [choice]
    with pytest.raises(ConfigError, match=r"Scales has no Choice: .* plain lists"):
        scale_manager(net)
