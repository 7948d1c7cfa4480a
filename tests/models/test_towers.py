"""Two-tower models: inputs by hand, shared tables, serving."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dnas.errors import ConfigError
from dnas.models import MLP
from dnas.models.towers import (
    AveragePooling,
    ItemInputs,
    TwoTower,
    UserInputs,
    dense_tower,
    item_matrix,
    top_k,
)
from dnas.models.towers.inputs import BagTable, make_table
from tests.tower_cases import ITEMS, PLAIN, SPEC, inputs


def model(spec=SPEC, sparse: bool = False) -> TwoTower:
    torch.manual_seed(0)
    items = ItemInputs(spec, 4, sparse=sparse)
    users = UserInputs(spec, 4, items, AveragePooling(), sparse=sparse)
    nets = (MLP((width, 5, 3), last_activation=False) for width in (users.width, items.width))
    return TwoTower(users, *nets)


def test_widths_are_of_all_fields_side_by_side():
    items = ItemInputs(SPEC, 4)
    users = UserInputs(SPEC, 4, items, AveragePooling())
    assert (items.width, items.history_width, users.width) == (12, 8, 16)
    plain = ItemInputs(PLAIN, 4)
    assert (plain.width, plain.history_width) == (8, 8)


def test_tables_start_xavier_uniform():
    table = make_table(944, 16, sparse=False)
    bound = math.sqrt(6 / (944 + 16))
    assert 0.99 * bound < table.weight.abs().max() <= bound
    assert table.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)


def test_dense_towers_start_as_torchs_layers_do():
    """Uniform weights and biases within 1 / sqrt(inputs)."""
    net = dense_tower(400, (25,), 8)
    assert net.sizes == (400, 25, 8)
    for layer, bound in zip(net.layers, (1 / 20, 1 / 5), strict=True):
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() <= bound


def test_items_by_hand():
    items = ItemInputs(SPEC, 2)
    fields, bags = torch.tensor([[3, 1], [9, 4]]), torch.tensor([[2, 0, 4], [4, 4, 4]])
    movies, decades = (table.weight for table in items.tables)
    genres = items.bag.table.weight
    found = items(fields, bags)
    mean = (genres[2] + genres[0]) / 2
    torch.testing.assert_close(found[0], torch.cat((movies[3], decades[1], mean)))
    torch.testing.assert_close(found[1], torch.cat((movies[9], decades[4], torch.zeros(2))))


def test_padding_of_bags_has_no_vector_and_gets_no_gradient():
    bag = BagTable(3, 2, sparse=False, released_padding=False)
    bag(torch.tensor([[1, 3, 3]])).sum().backward()
    assert bag.table.weight[3].tolist() == [0.0, 0.0]
    assert bag.table.weight.grad[3].tolist() == [0.0, 0.0]
    assert bag.table.weight.grad[1].tolist() == [1.0, 1.0]


def test_the_released_padding_adds_a_fixed_random_vector():
    bag = BagTable(3, 2, sparse=False, released_padding=True)
    weight = bag.table.weight
    assert weight[3].abs().min() > 0
    found = bag(torch.tensor([[1, 3, 3], [0, 2, 3]]))
    torch.testing.assert_close(found[0], weight[1] + 2 * weight[3])
    torch.testing.assert_close(found[1], (weight[0] + weight[2] + weight[3]) / 2)
    found.sum().backward()
    assert weight.grad[3].tolist() == [0.0, 0.0]


def test_the_history_is_the_mean_of_the_items_that_are_there():
    items = ItemInputs(SPEC, 2)
    users = UserInputs(SPEC, 2, items, AveragePooling())
    history = torch.zeros(2, 6, 2, dtype=torch.int64)
    history[0, 4:] = torch.tensor([[5, 1], [7, 0]])  # item, first genre
    found = users(torch.tensor([[1, 2], [2, 0]]), history)
    movies, genres = items.tables[0].weight, items.bag.table.weight
    torch.testing.assert_close(found[0, 4:6], (movies[5] + movies[7]) / 2)
    torch.testing.assert_close(found[0, 6:], (genres[1] + genres[0]) / 2)
    assert found[1, 4:].tolist() == [0.0] * 4  # no history
    torch.testing.assert_close(found[0, :2], users.tables[0].weight[1])


def test_what_stands_in_padded_places_does_not_matter():
    net = model()
    users, history, items, bags = inputs(5)
    changed = history.clone()
    changed[..., 1][history[..., 0] == 0] = 3
    assert torch.equal(net(users, history, items, bags), net(users, changed, items, bags))


def test_outputs_are_unit_vectors_users_first():
    net = model()
    users, history, items, bags = inputs(6)
    found = net(users[:4], history[:4], items, bags)
    assert found.shape == (10, 3)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(10))
    torch.testing.assert_close(found[:4], net.user(users[:4], history[:4]))
    torch.testing.assert_close(found[4:], net.item(items, bags))


@pytest.mark.parametrize("spec", [SPEC, PLAIN])
def test_history_and_item_tower_share_their_tables(spec):
    net = model(spec)
    assert net.user.inputs.items is net.item.inputs
    users, history, _, _ = inputs(5, spec)
    net.user(users, history).square().sum().backward()
    net.user(users, history)[:, 0].sum().backward()
    assert net.item.inputs.tables[0].weight.grad.abs().sum() > 0


def test_sparse_tables_give_the_same_gradients():
    dense, sparse = model(), model(sparse=True)
    batch = inputs(8)
    for net in (dense, sparse):
        net(*batch)[:, 0].sum().backward()
    for (name, a), (_, b) in zip(dense.named_parameters(), sparse.named_parameters(), strict=True):
        assert b.grad.is_sparse == ("table" in name), name
        torch.testing.assert_close(a.grad, b.grad.to_dense() if b.grad.is_sparse else b.grad)


def corpus():
    _, _, items, bags = inputs(ITEMS)
    items[:, 0] = torch.arange(1, ITEMS + 1)
    return items, bags


def test_a_matrix_of_the_corpus_in_parts():
    net = model().eval()
    items, bags = corpus()
    whole = item_matrix(net.item, items, bags)
    assert whole.shape == (ITEMS, 3)
    assert not whole.requires_grad
    torch.testing.assert_close(item_matrix(net.item, items, bags, rows=2), whole)


def test_the_best_items_of_a_user():
    items = torch.tensor([[0.1, 0.0], [0.9, 0.0], [0.5, 0.0], [-0.2, 0.0]])
    users = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    ids, scores = top_k(users, items, 2)
    assert ids.tolist() == [[2, 3], [4, 1]]
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.5], [0.2, -0.1]]))
    ids, scores = top_k(users, items, 4, torch.tensor([[2, 0], [4, 3]]))
    assert ids.tolist() == [[3, 1, 4, 0], [1, 2, 0, 0]]
    assert scores[0, 3] == -math.inf
    with pytest.raises(ConfigError, match="k=5, but there are 4 items"):
        top_k(users, items, 5)
    for wrong in (torch.tensor([[2, 1]]), torch.tensor([2, 4])):  # of nobody else's
        with pytest.raises(ConfigError, match=r"excluded has the shape .* there are 2 users; give"):
            top_k(users, items, 2, wrong)


def test_serving_ranks_as_the_whole_model_does():
    net = model().eval()
    users, history, _, _ = inputs(5)
    items, bags = corpus()
    vectors = net(users, history, items, bags)
    ids, _ = top_k(net.user(users, history), item_matrix(net.item, items, bags), ITEMS)
    scores = vectors[:5] @ vectors[5:].T
    assert torch.equal(ids, scores.argsort(dim=1, descending=True) + 1)


def test_the_towers_run_apart_after_a_round_trip():
    net, other = model(), model()
    with torch.no_grad():
        for parameter in other.parameters():
            nn.init.zeros_(parameter)
    other.load_state_dict(net.state_dict())
    users, history, items, bags = inputs(4)
    assert torch.equal(other.user(users, history), net.user(users, history))
    assert torch.equal(other.item(items, bags), net.item(items, bags))
