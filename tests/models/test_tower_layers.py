"""Layers of the two-tower baselines by hand: excitation, Transformer, routing; several vectors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dnas.costs import count_flops
from dnas.models.towers import (
    CapsulePooling,
    FieldExcitation,
    FieldMean,
    ItemInputs,
    TransformerPooling,
    TwoTower,
    UserInputs,
    dense_tower,
    item_matrix,
    join,
    serving,
    split,
    top_k,
)
from dnas.models.towers.capsules import route, squash
from tests.tower_cases import ITEMS, SPEC, inputs


def test_fields_are_weighed_by_all_fields():
    layer = FieldExcitation(2, reduction=2)
    with torch.no_grad():
        layer.squeeze.weight.copy_(torch.tensor([[1.0, 2.0]]))
        layer.excite.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    # Means 2 and 0, hidden 2 (and 0 where the sum is negative), weights sigmoid of 2 and -2.
    found = layer(torch.tensor([[1.0, 3.0, 2.0, -2.0], [1.0, 1.0, -1.0, -3.0]]))
    high = 1 / (1 + math.exp(-2.0))
    torch.testing.assert_close(found[0], torch.tensor([high, 3 * high, 2, -2]) * torch.tensor(
        [1, 1, 1 - high, 1 - high]))  # fmt: skip
    torch.testing.assert_close(found[1], torch.tensor([0.5, 0.5, -0.5, -1.5]))


def test_excitation_has_at_least_one_hidden_unit():
    assert FieldExcitation(7, reduction=3).squeeze.weight.shape == (2, 7)
    assert FieldExcitation(2, reduction=3).squeeze.weight.shape == (1, 2)


def plain_transformer(dropout: float = 0.0) -> TransformerPooling:
    """Queries, keys and values are the vectors; nothing after the attention but the residual."""
    layer = TransformerPooling(2, 3, heads=1, feed_forward=4, dropout=dropout)
    layer.after_attention = layer.after_feed_forward = nn.Identity()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.project.weight.copy_(torch.eye(2).repeat(3, 1))
        layer.out.weight.copy_(torch.eye(2))
    return layer


def test_attention_by_hand_sees_the_positions_with_an_item():
    vectors = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 2.0]]])
    found = plain_transformer()(vectors, torch.tensor([[False, True, True]]))
    a = 1 / (1 + math.exp(-1 / math.sqrt(2)))  # of (1, 0) on itself
    b = 1 / (1 + math.exp(-4 / math.sqrt(2)))  # of (0, 2) on itself
    first, second = (1 + a, 2 * (1 - a)), (1 - b, 2 + 2 * b)
    mean = [(x + y) / 2 for x, y in zip(first, second, strict=True)]
    torch.testing.assert_close(found, torch.tensor([mean]))


def test_positions_and_feed_forward_by_hand():
    layer = plain_transformer()
    with torch.no_grad():
        layer.project.weight.zero_()  # no attention: s = x + position
        layer.positions.copy_(torch.tensor([[0.0, 0.0], [0.0, 0.0], [1.0, -1.0]]))
        layer.feed_forward[0].weight[0].copy_(torch.tensor([1.0, 0.0]))
        layer.feed_forward[0].weight[1].copy_(torch.tensor([0.0, 1.0]))
        layer.feed_forward[2].weight[:, :2].copy_(torch.eye(2))
    found = layer(
        torch.tensor([[[5.0, 5.0], [5.0, 5.0], [2.0, -2.0]]]), torch.tensor([[False, False, True]])
    )
    torch.testing.assert_close(found, torch.tensor([[6.0, -3.0 - 0.03]]))  # leaky: -3 * 0.01


def test_both_norms_are_applied():
    layer = TransformerPooling(4, 3, heads=2, feed_forward=5, dropout=0.0)
    found = layer(torch.randn(2, 3, 4), torch.tensor([[False, False, True], [True, True, True]]))
    torch.testing.assert_close(found[0].mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(found[0].std(unbiased=False), torch.tensor(1.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "pooling",
    [
        TransformerPooling(8, 6, heads=3, feed_forward=5, dropout=0.2),
        CapsulePooling(4, 6, interests=2, iterations=3),
    ],
    ids=lambda pooling: type(pooling).__name__,
)
def test_what_is_not_there_does_not_matter(pooling):
    pooling = pooling.eval()
    present = torch.tensor([[False] * 6, [False, False, True, True, True, True]])
    vectors = torch.randn(2, 6, 8)
    changed = torch.where(present.unsqueeze(2), vectors, torch.randn(2, 6, 8)).requires_grad_()
    found = pooling(changed, present)
    torch.testing.assert_close(found, pooling(vectors, present))
    assert not found[0].any()
    found.square().sum().backward()
    assert changed.grad is not None
    assert changed.grad.isfinite().all()
    assert not changed.grad[~present].any()


@pytest.mark.parametrize(
    "pooling",
    [
        TransformerPooling(8, 6, heads=3, feed_forward=5, dropout=0.2),
        CapsulePooling(4, 6, interests=2, iterations=1),
        CapsulePooling(4, 6, interests=3, iterations=3),
    ],
    ids=["transformer", "capsules 1", "capsules 3"],
)
def test_flops_are_those_that_are_counted(pooling):
    given = torch.randn(5, 6, 8), torch.ones(5, 6, dtype=torch.bool)
    assert pooling.flops == count_flops(pooling, given, 5)


def test_dropout_is_of_training_only():
    layer = TransformerPooling(8, 6, heads=2, feed_forward=5, dropout=0.5)
    vectors, present = torch.randn(3, 6, 8), torch.ones(3, 6, dtype=torch.bool)
    assert not torch.equal(layer(vectors, present), layer(vectors, present))
    layer.eval()
    assert torch.equal(layer(vectors, present), layer(vectors, present))


def test_squash_by_hand():
    found = squash(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    torch.testing.assert_close(found[0], torch.tensor([0.6, 0.8]) * 25 / 26)
    assert found[1].tolist() == [0.0, 0.0]


def test_two_capsules_by_hand():
    """Two behaviours 1 and 2 of one number; the first is drawn 3 : 1 to the first interest."""
    behaviors, present = torch.tensor([[[1.0], [2.0]]]), torch.ones(1, 2, dtype=torch.bool)
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    once = route(behaviors, present, logits, 1)
    u, v = (z * z / (1 + z * z) for z in (0.75 + 1.0, 0.25 + 1.0))
    torch.testing.assert_close(once, torch.tensor([[[u], [v]]]))
    # Then each behaviour moves to the interest it agrees with: b + u h.
    first = 3 * math.exp(u) / (3 * math.exp(u) + math.exp(v))
    second = math.exp(2 * u) / (math.exp(2 * u) + math.exp(2 * v))
    z = first + 2 * second, 3 - first - 2 * second
    twice = route(behaviors, present, logits, 2)
    torch.testing.assert_close(twice[0, :, 0], torch.tensor([x * x / (1 + x * x) for x in z]))


def test_routing_tells_two_groups_of_items_apart():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
    behaviors = centres.repeat(1, 5).view(1, 10, 2)
    behaviors = behaviors + 0.1 * torch.randn(1, 10, 2, generator=generator)
    logits = torch.randn(2, 10, generator=generator)
    found = route(behaviors, torch.ones(1, 10, dtype=torch.bool), logits, 8)[0]
    angles = nn.functional.cosine_similarity(found.unsqueeze(1), centres.unsqueeze(0), dim=2)
    assert sorted(angles.argmax(1).tolist()) == [0, 1]
    assert angles.amax(1).min() > 0.99


def test_interests_are_of_the_mean_field_through_the_shared_matrix():
    pooling = CapsulePooling(2, 1, interests=1, iterations=1)
    with torch.no_grad():
        pooling.shared.copy_(torch.tensor([[0.0, 1.0], [2.0, 0.0]]))
    found = pooling(torch.tensor([[[1.0, 2.0, 3.0, 6.0]]]), torch.tensor([[True]]))
    torch.testing.assert_close(found[0, 0], squash(torch.tensor([8.0, 2.0])))  # (2, 4) S


def test_first_logits_stay_and_are_saved():
    pooling, other = (CapsulePooling(4, 6, interests=2, iterations=2) for _ in range(2))
    assert not torch.equal(pooling.first_logits, other.first_logits)
    assert "first_logits" not in dict(pooling.named_parameters())
    other.load_state_dict(pooling.state_dict())
    given = torch.randn(3, 6, 8), torch.ones(3, 6, dtype=torch.bool)
    assert torch.equal(pooling(*given), other(*given))


def model() -> TwoTower:
    """Users of two vectors."""
    torch.manual_seed(0)
    items = ItemInputs(SPEC, 4)
    users = UserInputs(SPEC, 4, items, CapsulePooling(4, SPEC.seq_len, interests=2, iterations=2))
    return TwoTower(users, dense_tower(users.own_width + 4, (5,), 4), FieldMean(4)).eval()


def test_a_row_for_each_user_and_item_with_all_vectors():
    net = model()
    users, history, items, bags = inputs(6)
    found = net(users[:4], history[:4], items, bags)
    assert found.shape == (10, 2, 4)
    torch.testing.assert_close(found.norm(dim=2), torch.ones(10, 2))
    of_users, of_items = split(found, 4)
    assert torch.equal(of_users, net.user(users[:4], history[:4]))
    assert torch.equal(of_items, net.item(items, bags))
    assert torch.equal(found[4:, 1], of_items)


def test_each_interest_goes_beside_the_users_fields():
    net = model()
    users, history, _, _ = inputs(4)
    own = net.user.inputs.own(users)
    interests = net.user.inputs.pooling(*net.user.inputs.read(history))
    alone = net.user.net(torch.cat((own, interests[:, 1]), dim=1))
    torch.testing.assert_close(
        net.user(users, history)[:, 1], nn.functional.normalize(alone, dim=1)
    )


def test_join_and_split_of_single_vectors_are_concatenation():
    users, items = torch.randn(2, 3), torch.randn(4, 3)
    joined = join(users, items)
    assert torch.equal(joined, torch.cat((users, items)))
    assert [torch.equal(a, b) for a, b in zip(split(joined, 2), (users, items), strict=True)]


def test_the_best_items_of_a_user_of_two_vectors():
    items = torch.tensor([[1.0, 0.0], [0.0, 0.9], [0.5, 0.5], [-1.0, 0.0]])
    users = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [-1.0, 0.0]]])
    ids, scores = top_k(users, items, 3, torch.tensor([[0], [4]]))
    assert ids.tolist() == [[1, 2, 3], [2, 3, 1]]
    torch.testing.assert_close(scores, torch.tensor([[1.0, 0.9, 0.5], [0.0, -0.5, -1.0]]))


def test_serving_ranks_as_the_whole_model_does():
    net = model()
    users, history, items, bags = inputs(ITEMS)
    items[:, 0] = torch.arange(1, ITEMS + 1)
    vectors, corpus = split(net(users, history, items, bags), ITEMS)
    ids, _ = top_k(net.user(users, history), item_matrix(net.item, items, bags), ITEMS)
    scores = torch.stack([vectors[:, 0] @ corpus.T, vectors[:, 1] @ corpus.T]).amax(0)
    assert torch.equal(ids, scores.argsort(dim=1, descending=True) + 1)


@pytest.mark.parametrize("vectors", [1, 3])
def test_top_k_goes_through_users_in_parts(vectors, monkeypatch):
    torch.manual_seed(0)
    users, items = torch.randn(7, vectors, 4).squeeze(1), torch.randn(20, 4)
    excluded = torch.randint(0, 21, (7, 3))
    whole = top_k(users, items, 5, excluded), top_k(users, items, 5)
    monkeypatch.setattr(serving, "_MOST_SCORES", 2 * 21 * vectors)
    for (ids, scores), hidden in zip(whole, (excluded, None), strict=True):
        found = top_k(users, items, 5, hidden)
        assert torch.equal(found[0], ids)
        torch.testing.assert_close(found[1], scores)
    assert top_k(users[:0], items, 5)[0].shape == (0, 5)
