"""Poolings and blocks of two-tower models, computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dnas.models.towers import (
    OPERATIONS,
    POOLINGS,
    BlockTower,
    SelfAttentionPooling,
    SelfAttentivePooling,
    SumPooling,
    TowerBlock,
    make_pooling,
)
from dnas.models.towers.blocks import HEAD_WIDTH, ElementWise, HiddenLayer, TokenAttention

YES, NO = True, False
HISTORY = torch.tensor([[[9.0, 9.0], [1.0, 2.0], [3.0, -1.0]]])
PRESENT = torch.tensor([[NO, YES, YES]])


def fill(parameter, values):
    with torch.no_grad():
        parameter.copy_(torch.tensor(values))


def softmax(*scores):
    total = sum(map(math.exp, scores))
    return [math.exp(score) / total for score in scores]


def test_sum_pooling():
    assert SumPooling()(HISTORY, PRESENT).tolist() == [[4.0, 1.0]]


def test_self_attentive_pooling_by_hand():
    pooling = SelfAttentivePooling(2, 3)
    fill(pooling.positions, [[5.0, 5.0], [0.5, 0.0], [0.0, 1.0]])
    fill(pooling.hidden.weight, [[1.0, 1.0], [0.0, 1.0]])
    fill(pooling.score.weight, [[2.0, -1.0]])
    # h + p: (1.5, 2) and (3, 0); W_1 (h + p): (3.5, 2) and (3, 0).
    first, second = softmax(
        2 * math.tanh(3.5) - math.tanh(2.0), 2 * math.tanh(3.0) - math.tanh(0.0)
    )
    expected = torch.tensor([[first + 3 * second, 2 * first - second]])
    torch.testing.assert_close(pooling(HISTORY, PRESENT), expected)


def test_self_attention_pooling_by_hand():
    pooling = SelfAttentionPooling(2, 3).eval()
    fill(pooling.positions, [[7.0, 7.0], [0.0, 1.0], [-1.0, 0.0]])
    # q = x, k = (x_1 + 1, 0), v = 2 x + (1, 0), out = v + (0, 10).
    fill(pooling.query_key.weight, [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    fill(pooling.query_key.bias, [0.0, 0.0, 1.0, 0.0])
    fill(pooling.value.weight, [[2.0, 0.0], [0.0, 2.0]])
    fill(pooling.value.bias, [1.0, 0.0])
    fill(pooling.out.weight, [[1.0, 0.0], [0.0, 1.0]])
    fill(pooling.out.bias, [0.0, 10.0])
    # x = h + p: (1, 3) and (2, -1); k: 2 and 3 beside 0; scores <q, k> / sqrt(2).
    rows = [softmax(q * 2 / math.sqrt(2), q * 3 / math.sqrt(2)) for q in (1, 2)]
    first, second = ((a + b) / 2 for a, b in zip(*rows, strict=True))
    expected = [2 * (first + 2 * second) + 1, 2 * (3 * first - second) + 10]
    torch.testing.assert_close(pooling(HISTORY, PRESENT), torch.tensor([expected]))


def test_self_attention_pooling_is_attention_then_projections_then_the_mean():
    """The order of the definition; ours sums first. Dropout draws the same masks in both."""
    pooling = SelfAttentionPooling(4, 5)
    present = torch.rand(7, 5) < 0.6
    present[0] = False
    x = torch.randn(7, 5, 4)
    torch.manual_seed(3)
    found = pooling(x, present)
    y = x + pooling.positions
    query, key = pooling.query_key(y).chunk(2, dim=-1)
    scores = query @ key.mT / 2
    both = present.unsqueeze(1) & present.unsqueeze(2)
    torch.manual_seed(3)
    attention = pooling.dropout(torch.softmax(scores.masked_fill(~both, -(2.0**32)), -1))
    out = pooling.out(attention @ pooling.value(y)) * present.unsqueeze(-1)
    expected = out.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", POOLINGS)
def test_what_poolings_do_not_read(kind):
    """Vectors where there is no item, and of nothing they make zeros, with finite gradients."""
    pooling = make_pooling(kind, 3, 4).eval()
    present = torch.tensor([[NO, NO, NO, NO], [NO, NO, YES, YES]])
    vectors = torch.randn(2, 4, 3, requires_grad=True)
    pooled = pooling(vectors, present)
    assert pooled[0].tolist() == [0.0, 0.0, 0.0]
    pooled.square().sum().backward()
    assert vectors.grad.isfinite().all()
    assert vectors.grad[~present].abs().max() == 0
    assert vectors.grad[present].abs().min() > 0
    changed = torch.where(present.unsqueeze(-1), vectors, 100.0)
    assert torch.equal(pooling(changed, present), pooled)


@pytest.mark.parametrize("kind", ["self_attention", "self_attentive"])
def test_attention_sees_the_order(kind):
    pooling = make_pooling(kind, 2, 3).eval()
    turned = HISTORY[:, [0, 2, 1]]
    assert not torch.allclose(pooling(HISTORY, PRESENT), pooling(turned, PRESENT), atol=1e-3)


def test_attention_with_matrices_has_dropout():
    dropouts = {
        kind: [
            part.p for part in make_pooling(kind, 2, 3).modules() if isinstance(part, nn.Dropout)
        ]
        for kind in POOLINGS
    }
    with_it = {kind: found for kind, found in dropouts.items() if found}
    assert with_it == {"self_attention": [0.2], "transformer": [0.2]}


# ---------------------------------------------------------------------------- blocks

X, Y, Z = torch.tensor([[1.0, -2.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[-1.0, 2.0]])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sum", [3.0, 4.0]),
        ("avg", [1.0, 4.0 / 3.0]),
        ("min", [-1.0, -2.0]),
        ("max", [3.0, 4.0]),
        ("product", [-3.0, -16.0]),
    ],
)
def test_element_wise(name, expected):
    torch.testing.assert_close(ElementWise(2, name)([X, Y, Z]), torch.tensor([expected]))


@pytest.mark.parametrize(("activated", "expected"), [(True, [0.0, 7.0]), (False, [-1.0, 7.0])])
def test_hidden_layer(activated, expected):
    layer = HiddenLayer(2, 2, 2, activated=activated)
    fill(layer.linear.weight, [[0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    fill(layer.linear.bias, [-2.0, 0.0])
    assert layer([X, Y]).tolist() == [expected]


def test_token_attention_by_hand():
    """One head on two tokens of one number: q = x, k = x, v = 3 x, each in its first coordinate."""
    layer = TokenAttention(2, 1, 1)
    weight = torch.zeros(4, HEAD_WIDTH)
    weight[:3, 0] = torch.tensor([1.0, 1.0, 3.0])
    weight[3, 1] = 1.0  # the residual, in the second
    fill(layer.project.weight, weight.view(-1, 1).tolist())
    fill(layer.project.bias, [0.0] * 4 * HEAD_WIDTH)
    found = layer([torch.tensor([[1.0]]), torch.tensor([[2.0]])])
    assert found.shape == (1, 2 * HEAD_WIDTH)
    for token, x in enumerate((1.0, 2.0)):
        first, second = softmax(x / math.sqrt(8), 2 * x / math.sqrt(8))
        expected = torch.zeros(HEAD_WIDTH)
        expected[0], expected[1] = 3 * first + 6 * second, x
        torch.testing.assert_close(found[0].view(2, -1)[token], expected)


def test_heads_are_apart():
    layer = TokenAttention(3, 4, 2)
    tensors = [torch.randn(5, 4) for _ in range(3)]
    before = layer(tensors).view(5, 3, 2, HEAD_WIDTH)
    with torch.no_grad():  # queries, keys, values and residual of the first head
        layer.project.weight.view(4, 2, HEAD_WIDTH, 4)[:, 0] += 1.0
    after = layer(tensors).view(5, 3, 2, HEAD_WIDTH)
    assert torch.equal(before[:, :, 1], after[:, :, 1])
    assert not torch.allclose(before[:, :, 0], after[:, :, 0])


def test_what_follows_a_block():
    tensors = [torch.randn(50, 4), torch.randn(50, 4)]
    over_batch = TowerBlock("ew_sum", 2, 4, norm="batch", relu=False, activated=True)(tensors)
    torch.testing.assert_close(over_batch.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    of_rows = TowerBlock("ew_sum", 2, 4, norm="layer", relu=False, activated=True)(tensors)
    torch.testing.assert_close(of_rows.mean(1), torch.zeros(50), atol=1e-6, rtol=0)
    with_relu = TowerBlock("ew_sum", 2, 4, norm=None, relu=True, activated=True)(tensors)
    assert with_relu.min() == 0
    assert TowerBlock("ew_sum", 2, 4, norm=None, relu=False, activated=True)(tensors).min() < 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_all_operations_give_a_vector(operation):
    block = TowerBlock(operation, 3, 4, norm="batch", relu=True, activated=True)
    assert block([torch.randn(5, 4) for _ in range(3)]).shape == (5, 4)


def test_every_block_sees_all_before_it():
    def block(inputs):
        return TowerBlock("ew_sum" if inputs > 1 else "mlp_16", inputs, 2, **plain)

    plain = {"norm": None, "relu": False, "activated": False}
    tower = BlockTower(nn.Linear(3, 2), [block(1), block(2), block(3)])
    x = torch.randn(4, 3)
    first = tower.align(x)
    second = tower.blocks[0]([first])
    third = tower.blocks[1].linear(first + second)
    torch.testing.assert_close(tower(x), tower.blocks[2].linear(first + second + third))
