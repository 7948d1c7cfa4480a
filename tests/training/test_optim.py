"""OptimizerSet and clipping: sparse gradients must train as dense ones do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from dnas.errors import ConfigError
from dnas.training.clipping import clip_grad_norm
from dnas.training.optim import OPTIMIZERS, OptimizerSet, sparse_parameter_ids

TOUCHED = [0, 2]
#: Those that update a row of a table as if it were dense.
ELEMENTWISE = [name for name in OPTIMIZERS if name != "rowwise_adagrad"]


class Net(nn.Module):
    def __init__(self, sparse: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(4, 3, sparse=sparse)
        self.out = nn.Linear(3, 1)

    def backward(self) -> None:
        """Row 2 occurs twice, as in a batch."""
        self.out(self.table(torch.tensor([0, 2, 2]))).square().sum().backward()


def optimizer_of(net: Net, name: str, **options) -> OptimizerSet:
    return OptimizerSet(
        OPTIMIZERS[name],
        [{"params": list(net.parameters())}],
        [0.1],
        init_params=options,
        sparse=sparse_parameter_ids(net),
    )


def test_sparse_parameters_are_found():
    net = Net(True)
    assert sparse_parameter_ids(net) == {id(net.table.weight)}
    assert sparse_parameter_ids(Net(False)) == set()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_a_sparse_step_is_the_dense_step_on_touched_rows(name):
    nets = Net(True), Net(False)
    before = nets[0].table.weight.detach().clone()
    for net in nets:
        optimizer = optimizer_of(net, name)
        net.backward()
        optimizer.step()
    assert nets[0].table.weight.grad.is_sparse
    torch.testing.assert_close(nets[0].table.weight[TOUCHED], nets[1].table.weight[TOUCHED])
    torch.testing.assert_close(nets[0].out.weight, nets[1].out.weight)
    assert not torch.equal(nets[0].table.weight[TOUCHED], before[TOUCHED])
    assert torch.equal(nets[0].table.weight[[1, 3]], before[[1, 3]])


def test_steps_by_hand():
    """One parameter of value 1 with gradient 4, learning rate 0.1."""
    for name, expected in (
        ("sgd", 1 - 0.1 * 4),
        ("adagrad", 1 - 0.1 * 4 / 4),  # divided by sqrt(sum of squares)
        ("adam", 1 - 0.1),  # the first step is the learning rate
    ):
        parameter = nn.Parameter(torch.ones(1))
        optimizer = OptimizerSet(OPTIMIZERS[name], [{"params": [parameter]}], [0.1])
        parameter.grad = torch.tensor([4.0])
        optimizer.step()
        assert float(parameter.detach()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("clip_first", [True, False])
def test_lazy_weight_decay_by_hand(clip_first):
    table = nn.Embedding(3, 1, sparse=True)
    with torch.no_grad():
        table.weight.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
    optimizer = OptimizerSet(
        torch.optim.SGD,
        [{"params": [table.weight]}],
        [0.1],
        init_params={"weight_decay": 0.5},
        sparse={id(table.weight)},
    )
    table(torch.tensor([0, 2, 2])).sum().backward()  # gradients 1, 0, 2
    if clip_first:
        clip_grad_norm([table.weight], 100.0)
    optimizer.step()
    # w - 0.1 * (g + 0.5 * w) for touched rows, once for a row that occurs twice.
    expected = [1 - 0.1 * (1 + 0.5), 2.0, 3 - 0.1 * (2 + 1.5)]
    assert table.weight.detach().flatten().tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_weight_decay_of_dense_parameters_is_torchs(name):
    nets = Net(False), Net(False)
    for net, optimizer in zip(
        nets,
        (
            optimizer_of(nets[0], name, weight_decay=0.5),
            OPTIMIZERS[name](nets[1].parameters(), lr=0.1, weight_decay=0.5, fused=True),
        ),
        strict=True,
    ):
        net.backward()
        optimizer.step()
    for found, expected in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(found, expected)


def test_an_optimizer_without_sparse_support_is_refused():
    net = Net(True)
    with pytest.raises(ConfigError, match=r"AdamW cannot update embeddings .* use SGD, Adagrad or"):
        OptimizerSet(
            torch.optim.AdamW,
            [{"params": net.parameters()}],
            [0.1],
            sparse=sparse_parameter_ids(net),
        )
    OptimizerSet(torch.optim.AdamW, [{"params": net.out.parameters()}], [0.1])


def test_groups_and_rates_must_agree():
    with pytest.raises(ConfigError, match="1 parameter groups but 2 initial learning rates"):
        OptimizerSet(torch.optim.SGD, [{"params": [nn.Parameter(torch.ones(1))]}], [0.1, 0.2])
    with pytest.raises(ConfigError, match="there are no parameters to optimise"):
        OptimizerSet(torch.optim.SGD, [{"params": []}], [0.1])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_every_group_has_its_schedule_over_both_kinds(name):
    net = Net(True)
    optimizer = OptimizerSet(
        OPTIMIZERS[name],
        [{"params": [net.table.weight, net.out.bias]}, {"params": [net.out.weight]}],
        [1.0, 10.0],
        sparse=sparse_parameter_ids(net),
    )
    optimizer.set_lr(2.0, [lambda epoch: 0.5**epoch, lambda epoch: epoch])
    rates = {
        id(parameter): group["lr"]
        for member, _ in optimizer.members
        for group in member.param_groups
        for parameter in group["params"]
    }
    assert rates == {
        id(net.table.weight): 0.25,
        id(net.out.bias): 0.25,
        id(net.out.weight): 20.0,
    }
    assert {id(p) for p in optimizer.parameters()} == set(rates)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_round_trip_is_exact(name):
    nets = Net(True), Net(True)
    first = optimizer_of(nets[0], name)
    for _ in range(3):
        first.zero_grad()
        nets[0].backward()
        first.step()
    nets[1].load_state_dict(nets[0].state_dict())
    second = optimizer_of(nets[1], name)
    # torch hands out its own tensors, not copies of them.
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for net, optimizer in zip(nets, (first, second), strict=True):
        optimizer.zero_grad()
        net.backward()
        optimizer.step()
    assert torch.equal(nets[0].table.weight, nets[1].table.weight)
    assert torch.equal(nets[0].out.weight, nets[1].out.weight)


def test_zero_grad_forgets():
    net = Net(True)
    optimizer = optimizer_of(net, "adam")
    net.backward()
    optimizer.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_clipping_by_hand():
    first, second = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    first.grad, second.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert float(clip_grad_norm([first, second, nn.Parameter(torch.ones(1))], 10.0)) == 5.0
    assert first.grad.tolist() == [3.0, 0.0]  # below the limit: not touched
    assert float(clip_grad_norm([first, second], 1.0)) == 5.0
    assert [*first.grad.tolist(), *second.grad.tolist()] == pytest.approx([0.6, 0.0, 0.8], rel=1e-5)
    assert float(clip_grad_norm([], 1.0)) == 0.0


def test_a_limit_that_is_not_positive_is_refused():
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.tensor([2.0])
    with pytest.raises((ConfigError, ValueError)):
        clip_grad_norm([parameter], -1.0)


@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_sparse_clipping_is_dense_clipping(limit):
    nets = Net(True), Net(False)
    norms = []
    for net in nets:
        net.backward()
        norms.append(clip_grad_norm(net.parameters(), limit))
    torch.testing.assert_close(*norms)
    assert nets[0].table.weight.grad.is_sparse
    torch.testing.assert_close(nets[0].table.weight.grad.to_dense(), nets[1].table.weight.grad)
    torch.testing.assert_close(nets[0].out.weight.grad, nets[1].out.weight.grad)


def table_step(name: str, rows: list[int], values: list[list[float]], steps: int = 1, **options):
    """A table of four rows of ones after steps with one sparse gradient."""
    table = nn.Parameter(torch.ones(4, 2))
    optimizer = OptimizerSet(
        OPTIMIZERS[name],
        [{"params": [table]}],
        [0.1],
        init_params=options,
        sparse={id(table)},
    )
    for _ in range(steps):
        table.grad = torch.sparse_coo_tensor(
            torch.tensor([rows]),
            torch.tensor(values),
            (4, 2),
            is_coalesced=True,
            check_invariants=False,
        )
        optimizer.step()
    return table.detach(), optimizer


def test_rowwise_adagrad_by_hand():
    """s += mean(g^2) over the row; w -= lr g / sqrt(s)."""
    table, optimizer = table_step("rowwise_adagrad", [1, 3], [[3.0, 1.0], [0.0, 2.0]], steps=2)
    first, second = 5.0, 2.0  # mean of 9 and 1, of 0 and 4
    factor = [1 / s**0.5 + 1 / (2 * s) ** 0.5 for s in (first, second)]
    expected = torch.ones(4, 2)
    expected[1] -= 0.1 * torch.tensor([3.0, 1.0]) * factor[0]
    expected[3] -= 0.1 * torch.tensor([0.0, 2.0]) * factor[1]
    torch.testing.assert_close(table, expected)
    (state,) = optimizer.members[0][0].state.values()
    assert state["sum"].flatten().tolist() == [0.0, 10.0, 0.0, 4.0]


def test_rowwise_adagrad_of_dense_parameters_is_adagrad():
    nets = Net(True), Net(True)
    for net, name in zip(nets, ("rowwise_adagrad", "adagrad"), strict=True):
        optimizer = optimizer_of(net, name)
        net.backward()
        optimizer.step()
    assert torch.equal(nets[0].out.weight, nets[1].out.weight)
    assert not torch.equal(nets[0].table.weight, nets[1].table.weight)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_padding_changes_nothing(name):
    """On a GPU gradients end with entries of row 0 that hold zeros."""
    plain, _ = table_step(name, [0, 2], [[1.0, -2.0], [3.0, 1.0]], steps=3, weight_decay=0.1)
    values = [[1.0, -2.0], [3.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    padded, _ = table_step(name, [0, 2, 0, 0], values, steps=3, weight_decay=0.1)
    torch.testing.assert_close(padded, plain)
    assert float(plain[0, 0]) != 1.0


def test_adam_of_tables_is_torchs():
    generator = torch.Generator().manual_seed(3)
    ours, theirs = nn.Parameter(torch.ones(5, 2)), nn.Parameter(torch.ones(5, 2))
    optimizer = OptimizerSet(torch.optim.Adam, [{"params": [ours]}], [0.1], sparse={id(ours)})
    reference = torch.optim.SparseAdam([theirs], lr=0.1)
    for _ in range(6):
        rows = torch.randint(5, (1, 3), generator=generator)
        gradient = torch.sparse_coo_tensor(rows, torch.randn(3, 2, generator=generator), (5, 2))
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, theirs)


def test_an_option_that_tables_lack_is_refused():
    with pytest.raises(
        ConfigError, match=r"option momentum=0.9: embeddings .* have lr, weight_dec"
    ):
        optimizer_of(Net(True), "sgd", momentum=0.9)
    net = Net(True)
    optimizer = OptimizerSet(
        torch.optim.SGD,
        [
            {"params": list(net.table.parameters())},
            {"params": list(net.out.parameters()), "momentum": 0.9},
        ],
        [0.1, 0.1],
        sparse=sparse_parameter_ids(net),
    )
    net.backward()
    optimizer.step()
