"""Fused tables against one nn.EmbeddingBag for each feature."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dnas.data import Bags
from dnas.errors import ConfigError
from dnas.models import EmbeddingTables, FusedTable
from dnas.models.embeddings import bag_of_value, select_features

ROWS = (5, 3, 9, 4)
DIMS = [(4, 4, 4, 4), (4, 1, 2, 4), (2, 2, 1, 1)]


def tables(dims: tuple[int, ...], output_dim: int = 4) -> tuple[EmbeddingTables, list[nn.Module]]:
    """The module under test and the modules that it must equal, with the same weights."""
    torch.manual_seed(0)
    module = EmbeddingTables(ROWS, dims, output_dim)
    singles = []
    for feature, (rows, dim) in enumerate(zip(ROWS, dims, strict=True)):
        single = nn.EmbeddingBag(rows, dim, mode="sum")
        module.copy_table_(feature, single.weight.detach())
        singles.append(single)
    return module, singles


def padded(parts: list[torch.Tensor], output_dim: int) -> torch.Tensor:
    return torch.stack([F.pad(part, (0, output_dim - part.shape[1])) for part in parts], dim=1)


@pytest.mark.parametrize("dims", DIMS)
def test_one_hot_equals_an_embedding_bag_for_each_feature(dims):
    module, singles = tables(dims)
    ids = torch.randint(0, 1000, (6, 4))  # larger than the tables: id % rows
    expected = padded([single(ids[:, f : f + 1] % ROWS[f]) for f, single in enumerate(singles)], 4)
    found = module(ids)
    assert found.shape == (6, 4, 4)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dims", DIMS)
def test_bags_equal_an_embedding_bag_for_each_feature(dims):
    module, singles = tables(dims)
    lengths = torch.randint(0, 4, (6, 4))
    lengths[0] = 0
    offsets = F.pad(lengths.flatten().cumsum(0), (1, 0))
    values = torch.randint(0, 1000, (int(offsets[-1]),))
    parts = []
    for f, single in enumerate(singles):
        own = [values[offsets[b * 4 + f] : offsets[b * 4 + f + 1]] % ROWS[f] for b in range(6)]
        starts = F.pad(lengths[:, f].cumsum(0), (1, 0))[:-1]
        parts.append(single(torch.cat(own), starts))
    found = module(Bags(values, offsets))
    torch.testing.assert_close(found, padded(parts, 4))
    assert torch.equal(found[0], torch.zeros(4, 4))  # empty bags


@pytest.mark.parametrize("dims", DIMS)
def test_gradients_are_sparse_and_right(dims):
    module, singles = tables(dims)
    ids = torch.tensor([[0, 1, 8, 3], [0, 2, 8, 3], [4, 1, 0, 0]])
    weight = torch.randn(3, 4, 4)
    (module(ids) * weight).sum().backward()
    expected = padded([single(ids[:, f : f + 1]) for f, single in enumerate(singles)], 4)
    (expected * weight).sum().backward()
    for group in module.groups:
        assert group.weight.grad.is_sparse
        members = [f for f, d in enumerate(dims) if d == group.weight.shape[1]]
        dense = torch.cat([singles[f].weight.grad for f in members])
        torch.testing.assert_close(group.weight.grad.to_dense(), dense)


def test_one_parameter_for_each_dimension_in_rising_order():
    module, _ = tables((4, 1, 2, 4))
    assert [tuple(group.weight.shape) for group in module.groups] == [(3, 1), (9, 2), (9, 4)]


@pytest.mark.parametrize(
    ("rows", "dims", "output_dim", "message"),
    [
        ((5,), (4, 4), 4, "1 tables with 2 dimensions"),
        ((), (), 4, "0 tables with 0 dimensions"),
        ((5, 0), (4, 4), 4, "rows must be positive"),
        ((5, 5), (4, 8), 4, r"dimensions in 1\.\.4, but got rows \(5, 5\), dims \(4, 8\)"),
        ((5, 5), (4, 0), 4, r"dimensions in 1\.\.4"),
    ],
)
def test_mistakes_are_named(rows, dims, output_dim, message):
    with pytest.raises(ConfigError, match=message):
        EmbeddingTables(rows, dims, output_dim)


def test_each_table_is_initialised_by_its_own_rows():
    torch.manual_seed(0)
    table = FusedTable((4, 10_000), 8)
    small, large = table.tables()
    assert 0.4 < float(small.abs().max()) <= 0.5  # sqrt(1 / 4)
    assert 0.0099 < float(large.abs().max()) <= 0.01  # sqrt(1 / 10000)
    assert table.offsets().tolist() == [0, 4]


def test_selecting_features_of_bags_by_hand():
    # Two rows of three features: [7], [], [8, 9] and [1, 2], [3], [].
    bags = Bags(torch.tensor([7, 8, 9, 1, 2, 3]), torch.tensor([0, 1, 1, 3, 5, 6, 6]))
    assert bag_of_value(bags).tolist() == [0, 2, 2, 3, 3, 4]
    values, offsets, feature = select_features(bags, torch.tensor([0, 2]), 3)
    assert values.tolist() == [7, 8, 9, 1, 2]
    assert offsets.tolist() == [0, 1, 3, 5, 5]
    assert feature.tolist() == [0, 1, 1, 0, 0]
