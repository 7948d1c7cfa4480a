"""Look-ups with a sorted gradient against their definition: gather, multiply, add up."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from dnas.models.look_up import coalesce_gradient, look_up, real_rows
from dnas.training.clipping import clip_grad_norm
from dnas.training.optim import OptimizerSet

R, D = 23, 5


def naive(table: Tensor, rows: Tensor, weights: Tensor | None, offsets: Tensor | None) -> Tensor:
    """The definition."""
    entries = table[rows.long()]
    if weights is not None:
        entries = entries * weights.unsqueeze(-1)
    if offsets is None:
        return entries.sum(1)
    bags = [entries[a:b].sum(0) for a, b in pairwise(offsets)]
    return torch.stack(bags)


def case(bags: bool, weighted: bool, dtype: torch.dtype) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    table = torch.randn(R, D, generator=generator, dtype=dtype)
    shape = (30,) if bags else (11, 3)
    rows = torch.randint(R - 4, shape, generator=generator)  # the last rows are never looked up
    weights = torch.rand(shape, generator=generator, dtype=dtype) if weighted else None
    # Bags of different sizes, two of them empty.
    offsets = torch.tensor([0, 0, 7, 8, 8, 19, 30]) if bags else None
    return table, rows, weights, offsets


@pytest.mark.parametrize("fixed_shape", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("bags", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_values_and_gradients_are_those_of_the_definition(
    bags, weighted, fixed_shape, dtype, tolerance
):
    table, rows, weights, offsets = case(bags, weighted, dtype)
    results = []
    for fused in (True, False):
        t = table.clone().requires_grad_()
        w = None if weights is None else weights.clone().requires_grad_()
        if fused:
            out = look_up(t, rows, weights=w, offsets=offsets, fixed_shape=fixed_shape)
        else:
            out = naive(t, rows, w, offsets)
        gradient = torch.arange(out.numel(), dtype=dtype).view_as(out).cos()
        out.backward(gradient)
        results.append((out, t.grad, None if w is None else w.grad))
    (out, sparse, dw), (expected, dense, expected_dw) = results
    torch.testing.assert_close(out, expected, rtol=0, atol=tolerance)
    assert sparse.is_sparse
    assert sparse._nnz() == (rows.numel() if fixed_shape else rows.unique().numel())
    torch.testing.assert_close(sparse.to_dense(), dense, rtol=0, atol=10 * tolerance)
    if weighted:
        torch.testing.assert_close(dw, expected_dw, rtol=0, atol=10 * tolerance)
    ascending = sparse._indices()[0]
    real = real_rows(ascending)
    assert ascending[real].tolist() == rows.unique().tolist()
    assert not sparse._values()[~real].any()


def test_coalescing_a_single_look_up_moves_nothing():
    table = nn.Parameter(torch.randn(R, D))
    look_up(table, torch.tensor([[3], [1], [3]])).sum().backward()
    values = table.grad._values()
    assert not table.grad.is_coalesced()  # autograd has forgotten it
    gradient = coalesce_gradient(table)
    assert gradient.is_coalesced()
    assert gradient is table.grad
    assert gradient._values().data_ptr() == values.data_ptr()
    assert gradient._indices()[0].tolist() == [1, 3]


@pytest.mark.parametrize("fixed_shape", [False, True])
def test_gradients_that_were_added_up_are_really_coalesced(fixed_shape):
    """Two look-ups in one table, and two backward passes: the rows are no longer sorted."""
    table = nn.Parameter(torch.randn(R, D))
    for _ in range(2):
        first = look_up(table, torch.tensor([[3], [1]]), fixed_shape=fixed_shape)
        second = look_up(table, torch.tensor([[2], [3]]), fixed_shape=fixed_shape)
        (first.sum() + 10 * second.sum()).backward()
    gradient = coalesce_gradient(table)
    rows = gradient._indices()[0].tolist()
    assert rows == sorted(set(rows))
    expected = torch.zeros(R, D)
    expected[1], expected[2], expected[3] = 2, 20, 22
    assert torch.equal(gradient.to_dense(), expected)
    clip_grad_norm([table], 1.0)
    assert float(table.grad.to_dense().norm()) == pytest.approx(1.0, abs=1e-5)


def test_a_copied_table_has_gradients_of_its_own():
    table = nn.Parameter(torch.randn(R, D))
    look_up(table, torch.tensor([[3], [1]])).sum().backward()
    other = copy.deepcopy(table)
    other.grad = None
    look_up(other, torch.tensor([[5], [4]])).sum().backward()
    assert coalesce_gradient(other)._indices()[0].tolist() == [4, 5]
    assert coalesce_gradient(table)._indices()[0].tolist() == [1, 3]


def test_a_frozen_table_gets_no_gradient_but_weights_do():
    table = torch.randn(R, D)
    weights = torch.rand(4, 2, requires_grad=True)
    rows = torch.randint(R, (4, 2))
    look_up(table, rows, weights=weights).sum().backward()
    torch.testing.assert_close(weights.grad, table[rows].sum(-1))
    with torch.no_grad():
        assert not look_up(nn.Parameter(table), rows).requires_grad


def test_rows_beyond_the_table_are_refused():
    with pytest.raises(RuntimeError):
        look_up(torch.randn(3, 2), torch.tensor([[3]]))


@pytest.mark.parametrize("fixed_shape", [False, True])
def test_a_batch_of_empty_bags(fixed_shape):
    table = nn.Parameter(torch.randn(R, D))
    rows, offsets = torch.empty(0, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)
    out = look_up(table, rows, offsets=offsets, fixed_shape=fixed_shape)
    assert torch.equal(out, torch.zeros(3, D))
    out.sum().backward()
    optimizer = OptimizerSet(
        torch.optim.Adam,
        [{"params": [table]}],
        [0.1],
        init_params={"weight_decay": 0.1},
        sparse={id(table)},
    )
    before = table.detach().clone()
    clip_grad_norm([table], 1.0)
    optimizer.step()
    assert torch.equal(table.detach(), before)
