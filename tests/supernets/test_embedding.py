"""Searched dimensions and cardinalities, by hand."""

from __future__ import annotations

import pytest
import torch

from dnas.core import Sample
from dnas.data import Bags
from dnas.errors import ConfigError
from supernets import EmbeddingCardSuperNet, EmbeddingDimSuperNet
from supernets.embedding_card import merged_rows, rows_of_option


def test_dimensions_are_the_weighted_sum_of_padded_copies():
    net = EmbeddingDimSuperNet((3, 2), (1, 2, 4))
    ids = torch.tensor([[2, 1], [0, 0]])
    sample = net.soft_sample(1.0, 2, torch.Generator().manual_seed(0))
    found = net(ids, sample=sample)
    tables = net.table.tables()
    for row in range(2):
        for feature in range(2):
            e = tables[feature][ids[row, feature]]
            expected = torch.zeros(4)
            for column, dim in enumerate((1, 2, 4)):
                expected[:dim] += sample["emb_dim"][row, feature, column].detach() * e[:dim]
            torch.testing.assert_close(found[row, feature].detach(), expected)


def test_rows_are_the_weighted_sum_of_tables_of_their_own():
    net = EmbeddingCardSuperNet((10, 3), (1.0, 0.5, 2), 4)
    # Feature 1: 3, int(1.5) = 1 and 2 rows.
    assert net.row_options == ((10, 5, 2), (3, 1, 2))
    assert net.table.rows == (10, 5, 2, 3, 1, 2)
    weights = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.9, 0.0]]])
    found = net(torch.tensor([[7, 2]]), sample=Sample({"emb_card": weights}))
    t = net.table.tables()
    first = 0.5 * t[0][7] + 0.3 * t[1][7 % 5] + 0.2 * t[2][7 % 2]
    second = 0.1 * t[3][2] + 0.9 * t[4][0]
    torch.testing.assert_close(found[0].detach(), torch.stack([first, second]))


def test_bags_are_sums_of_their_ids():
    net = EmbeddingCardSuperNet((10, 3), (1.0, 0.5), 4)
    sample = net.soft_sample(1.0, 1, torch.Generator().manual_seed(0))
    bags = Bags(torch.tensor([7, 1, 2]), torch.tensor([0, 2, 3]))  # [7, 1] and [2]
    one = [net(torch.tensor([[i, 2]]), sample=sample) for i in (7, 1)]
    found = net(bags, sample=sample)
    torch.testing.assert_close(found[0, 0], one[0][0, 0] + one[1][0, 0])
    torch.testing.assert_close(found[0, 1], one[0][0, 1])


def test_costs_of_dimensions_by_hand():
    net = EmbeddingDimSuperNet((100, 10), (2, 8))
    cost = net.cost({"emb_dim/0": 2, "emb_dim/1": 8})
    assert cost["embedding_params"] == cost["params"] == 100 * 2 + 10 * 8
    assert cost["embedding_bytes"] == 4 * 280
    assert cost["embedding_rows"] == 110
    assert cost["average_dim"] == 5.0
    # Uniform: 5 dimensions everywhere.
    assert float(net.expected_cost(net.probability_sample())["params"]) == pytest.approx(550.0)


def test_costs_of_cardinalities_by_hand():
    net = EmbeddingCardSuperNet((1000, 3), (1.0, 0.1), 8)
    assert net.cost({"emb_card/0": 100, "emb_card/1": 3})["embedding_rows"] == 103
    assert net.cost({"emb_card/0": 100, "emb_card/1": 3})["params"] == 824
    expected = net.expected_cost(net.probability_sample())
    assert float(expected["embedding_rows"]) == pytest.approx(550 + 2)


@pytest.mark.parametrize(
    ("option", "cardinality", "rows"),
    [
        ("1.0", 1460, 1460), ("0.1", 1460, 146), ("0.01", 1460, 14), ("0.001", 1460, 1),
        ("0.001", 3, 1), ("1000", 1460, 1000), ("1000", 30, 30), ("1", 30, 1), ("1e-1", 30, 3),
    ],
)  # fmt: skip
def test_rows_of_an_option(option, cardinality, rows):
    assert rows_of_option(option, cardinality) == rows


@pytest.mark.parametrize("option", ["0", "0.0", "1.5", "-0.1", "-3", "nan", "inf", "all", ""])
def test_options_that_are_no_rows(option):
    with pytest.raises(ConfigError, match=f"'{option}' is neither a fraction"):
        rows_of_option(option, 10)


def test_equal_options_of_small_features_are_one():
    """Not three identical tables of one row."""
    assert merged_rows(["1.0", "0.1", "0.01", "0.001"], 3) == [3, 1, None, None]
    net = EmbeddingCardSuperNet((1460, 3), (1.0, 0.1, 0.01, 0.001), 4)
    assert net.choices["emb_card"].options == ((1460, 146, 14, 1), (3, 1, None, None))
    torch.testing.assert_close(
        net.choices["emb_card"].probabilities()[1].detach(), torch.tensor([0.5, 0.5, 0.0, 0.0])
    )


def test_own_options_of_features():
    net = EmbeddingDimSuperNet((5, 5), (4, 8), features=["a", "b"], own_options={"b": (2, 8)})
    assert net.choices["emb_dim"].options == ((None, 4, 8), (2, None, 8))
    assert net.choices["emb_dim"].columns == ("2", "4", "8")
    with pytest.raises(ConfigError, match=r"unknown features \['x'\]"):
        EmbeddingDimSuperNet((5,), (4, 8), features=["a"], own_options={"x": (2,)})
    with pytest.raises(ConfigError, match=r"unknown features \['x'\]"):
        EmbeddingCardSuperNet((5,), (1.0,), 4, features=["a"], own_options={"x": (1.0,)})
    with pytest.raises(ConfigError, match="output_dim 4 is below the largest option 8"):
        EmbeddingDimSuperNet((5,), (4, 8), output_dim=4)


def test_gradients_are_of_looked_up_rows_only():
    net = EmbeddingCardSuperNet((1000, 3), (1.0, 0.1), 4)
    sample = net.soft_sample(1.0, 2)
    net(torch.tensor([[999, 0], [5, 0]]), sample=sample).sum().backward()
    gradient = net.table.weight.grad
    assert gradient.is_sparse
    # Feature 0: rows 999 and 5 of 1000, 99 and 5 of 100; feature 1: row 0 of 3 and of 1.
    rows = set(gradient.coalesce().indices()[0].tolist())
    assert rows == {5, 999, 1005, 1099, 1100, 1103}


def test_a_missing_option_touches_no_row_of_its_own():
    """Optimizers move what is touched, by weight decay say: a row that is looked up anyway."""
    net = EmbeddingCardSuperNet((100, 2), (1.0, 0.1, 0.01), 4)
    assert net.row_options[1].count(None) == 1  # 2 rows, 1, and none
    net(torch.tensor([[57, 1]]), sample=net.soft_sample(1.0, 1)).sum().backward()
    rows = set(net.table.weight.grad.coalesce().indices()[0].tolist())
    assert rows == {57, 100 + 7, 110, 111 + 1, 113}
