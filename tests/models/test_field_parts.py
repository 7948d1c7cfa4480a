"""The layers of DeepFM, AutoInt+ and xDeepFM against their definitions, by hand."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from dnas.costs import count_flops, count_params
from dnas.costs.formulas import cin_flops, cin_weights, interacting_flops, interacting_params
from dnas.data import Bags
from dnas.models import (
    CompressedInteraction,
    FactorizationMachine,
    FieldVectors,
    FirstOrder,
    InteractingLayer,
    InteractingStack,
)


def vectors(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def set_(parameter: torch.Tensor, values: list) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(values, dtype=parameter.dtype).view_as(parameter))


def test_factorization_machine_by_hand():
    # <a, b> + <a, c> + <b, c>.
    v = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [2.0, 1.0]]])
    assert FactorizationMachine()(v).tolist() == [11.0 + 4.0 + 10.0]


def test_factorization_machine_is_the_sum_over_pairs():
    v = vectors(4, 5, 3)
    pairs = sum((v[:, i] * v[:, j]).sum(1) for i, j in itertools.combinations(range(5), 2))
    torch.testing.assert_close(FactorizationMachine()(v), pairs)


def test_first_order_by_hand():
    part = FirstOrder(2, (3, 2))
    set_(part.numbers.weight, [10.0, 100.0])
    part.table.copy_table_(0, torch.tensor([[1.0], [2.0], [3.0]]))
    part.table.copy_table_(1, torch.tensor([[0.5], [0.25]]))
    dense, ids = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[2, 0], [4, 1]])
    # 3 + 0.5 + 10 + 200; id 4 of 3 rows is row 1.
    assert part(dense, ids).tolist() == [213.5, 2.25]
    bags = Bags(torch.tensor([2, 0, 0, 1]), torch.tensor([0, 2, 3, 4, 4]))  # [2, 0], [0], [1], []
    assert part(dense, bags).tolist() == [214.5, 2.0]
    assert part.params == count_params(part) == 3 + 2 + 2
    assert part.flops == count_flops(part, (dense, ids), 2) == 4


def test_a_number_multiplies_its_vector():
    part = FieldVectors(2, (3,), 2)
    set_(part.numbers, [[1.0, 2.0], [3.0, 4.0]])
    part.embeddings.copy_table_(0, torch.tensor([[5.0, 6.0], [7.0, 8.0], [9.0, 1.0]]))
    found = part(torch.tensor([[2.0, -1.0]]), torch.tensor([[1]]))
    assert found.tolist() == [[[2.0, 4.0], [-3.0, -4.0], [7.0, 8.0]]]


def test_gradients_of_tables_are_sparse():
    for part in (FieldVectors(1, (50, 7), 2), FirstOrder(1, (50, 7))):
        part(torch.ones(2, 1), torch.tensor([[3, 1], [3, 0]])).sum().backward()
        tables = part.embeddings if isinstance(part, FieldVectors) else part.table
        gradient = tables.groups[0].weight.grad
        assert gradient.is_sparse
        assert sorted(set(gradient.coalesce().indices()[0].tolist())) == [3, 50, 51]
        assert not part.get_parameter(
            "numbers" if isinstance(part, FieldVectors) else "numbers.weight"
        ).grad.is_sparse


def test_attention_by_hand():
    """Two fields of width 1, one head of width 1."""
    layer = InteractingLayer(1, 1, 1)
    set_(layer.project.weight, [2.0, 1.0, 3.0, -1.0])  # query, key, value, residual
    found = layer(torch.tensor([[[1.0], [2.0]]]))
    # Scores of field 1: 2*1*1, 2*1*2; of field 2: 4*1, 4*2. Values 3 and 6; residuals -1 and -2.
    first = 1 / (1 + math.exp(2.0))
    second = 1 / (1 + math.exp(4.0))
    expected = [first * 3 + (1 - first) * 6 - 1, second * 3 + (1 - second) * 6 - 2]
    assert found.flatten().tolist() == pytest.approx(expected, rel=1e-6)
    set_(layer.project.weight, [2.0, 1.0, 3.0, -9.0])
    assert layer(torch.tensor([[[1.0], [2.0]]])).tolist() == [[[0.0], [0.0]]]  # ReLU


def test_attention_of_several_heads_is_its_definition():
    heads, width = 3, 2
    layer = InteractingLayer(4, heads, width)
    e = vectors(2, 5, 4)
    query, key, value, residual = layer.project.weight.detach().chunk(4)
    for b, m in itertools.product(range(2), range(5)):
        parts = []
        for h in range(heads):
            rows = slice(h * width, (h + 1) * width)
            q = query[rows] @ e[b, m]
            scores = torch.stack([q @ (key[rows] @ e[b, k]) for k in range(5)])
            alpha = scores.softmax(0)
            parts.append(sum(alpha[k] * (value[rows] @ e[b, k]) for k in range(5)))
        expected = (torch.cat(parts) + residual @ e[b, m]).relu()
        torch.testing.assert_close(layer(e)[b, m].detach(), expected)


def test_costs_of_attention():
    # 2 * 5 * 4 * 24 products for the projections; scores and sums 2 * 2 * 3 * 25 * 2.
    assert interacting_flops(5, 4, 3, 2) == 960 + 600
    assert interacting_params(4, 3, 2) == 96
    stack = InteractingStack(5, 4, layers=2, heads=3, head_dim=2)
    assert stack.params == count_params(stack) == 96 + 4 * 6 * 6 + 5 * 6
    assert stack.flops == count_flops(stack, (vectors(7, 5, 4),), 7)
    assert stack.flops == 1560 + interacting_flops(5, 6, 3, 2) + 2 * 30


def test_cin_by_hand():
    """Two fields of width 2, one layer of one vector: W_ij of all pairs, in order."""
    cin = CompressedInteraction(2, 2, (1,))
    set_(cin.layers[0].weight, [1.0, 10.0, 100.0, 1000.0])
    set_(cin.out.weight, [2.0])
    # <a, a> = 5, <a, b> = <b, a> = 11, <b, b> = 25.
    assert cin(torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])).tolist() == [2.0 * (5 + 1210 + 25000)]


@pytest.mark.parametrize("sizes", [(4,), (4, 2), (3, 5, 2)])
def test_cin_is_the_triple_loop(sizes):
    fields, dim = 3, 4
    cin = CompressedInteraction(fields, dim, sizes).double()
    x0 = vectors(2, fields, dim).double()
    x, pooled = x0, []
    for layer, size in zip(cin.layers, sizes, strict=True):
        w = layer.weight.detach().view(size, x.shape[1], fields)
        after = torch.zeros(2, size, dim, dtype=torch.float64)
        for h, i, j in itertools.product(range(size), range(x.shape[1]), range(fields)):
            after[:, h] += w[h, i, j] * x[:, i] * x0[:, j]
        x = after
        pooled.append(x.sum(2))
    expected = torch.cat(pooled, 1) @ cin.out.weight.detach()[0]
    torch.testing.assert_close(cin(x0).detach(), expected)
    assert cin.params == count_params(cin)
    assert cin.flops == count_flops(cin, (x0,), 2)


def test_costs_of_cin_by_hand():
    # 4 vectors of 3 x 3 pairs, then 2 vectors of 4 x 3.
    assert cin_weights(3, (4, 2)) == 36 + 24
    # 36 weights on 5 dimensions; then 4 x 3 dot products of 5 dimensions, and 24 weights of them.
    assert cin_flops(3, 5, (4, 2)) == 2 * 5 * 36 + 2 * 5 * 12 + 2 * 24
