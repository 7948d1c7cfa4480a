"""Shares of a batch, in one process: bounds, cutting batches and samples."""

from __future__ import annotations

import pytest
import torch

from dnas.core import Sample
from dnas.data import ClickBatch, TensorBatch
from dnas.data.batch import Bags
from dnas.errors import ConfigError
from dnas.training.world import Share, World, bounds, share_of
from tests.toys import click_batches


@pytest.mark.parametrize(
    ("total", "size", "expected"),
    [
        (8, 2, [0, 4, 8]),
        (7, 2, [0, 3, 7]),
        (7, 3, [0, 2, 4, 7]),
        (1, 3, [0, 0, 0, 1]),
        (5, 1, [0, 5]),
    ],
)
def test_bounds(total, size, expected):
    assert bounds(total, size) == expected


def test_shares_weigh_their_rows_and_are_never_empty():
    assert share_of(7, 0, 3) == Share(7, slice(0, 2), 2 / 7)
    assert share_of(7, 2, 3) == Share(7, slice(4, 7), 3 / 7)
    assert [share_of(1, rank, 3) for rank in range(3)] == [
        Share(1, slice(0, 1), 0.0),
        Share(1, slice(0, 1), 0.0),
        Share(1, slice(0, 1), 1.0),
    ]
    assert World().share(7) == Share(7, slice(0, 7), 1.0)


def test_a_world_of_one_changes_nothing():
    world, batch = World(), click_batches(1)[0]
    share = world.share(16)
    assert world.local(batch, share) is batch
    loss = torch.tensor(2.0)
    assert world.mean(loss, share) is loss
    assert world.gather(loss, share) is loss
    assert (world.any(True), world.any(False), world.is_main) == (True, False, True)


class Pair(World):
    """The second of two processes."""

    rank, size = 1, 2


def test_batches_are_cut_by_rows():
    batch = click_batches(1, rows=5)[0]
    found = Pair().local(batch, Pair().share(5))
    assert isinstance(found, ClickBatch)
    assert torch.equal(found.dense, batch.dense[2:])
    assert torch.equal(found.ids, batch.ids[2:])
    assert torch.equal(found.labels, batch.labels[2:])
    pairs = TensorBatch((torch.arange(3), torch.ones(3, 2)), torch.arange(3.0)).rows(slice(1, 2))
    assert [part.tolist() for part in (*pairs.inputs, pairs.labels)] == [[1], [[1, 1]], [1]]


def test_bags_are_cut_by_rows():
    """Three rows of two features; bags of 1, 2, 0, 3, 0 and 1 ids."""
    bags = Bags(torch.arange(7), torch.tensor([0, 1, 3, 3, 6, 6, 7]))
    batch = ClickBatch(torch.zeros(3, 1), bags, torch.zeros(3))
    middle = batch.rows(slice(1, 2)).ids
    assert (middle.values.tolist(), middle.offsets.tolist()) == ([3, 4, 5], [0, 0, 3])
    last = batch.rows(slice(1, 3)).ids
    assert (last.values.tolist(), last.offsets.tolist()) == ([3, 4, 5, 6], [0, 0, 3, 3, 4])


def test_a_batch_that_cannot_be_cut_is_refused():
    class Whole:
        inputs, labels = (torch.zeros(2),), torch.zeros(2)

        def to(self, device):
            return self

    assert World().local(Whole(), World().share(2)).labels.shape == (2,)
    with pytest.raises(ConfigError, match=r"Whole has no method rows\(part: slice\)"):
        Pair().local(Whole(), Pair().share(2))


def test_samples_are_cut_by_rows_and_a_shared_draw_is_not():
    own = Sample({"c": torch.arange(6.0).view(3, 1, 2)})
    assert own.rows(slice(1, 3))["c"].tolist() == [[[2, 3]], [[4, 5]]]
    shared = Sample({"c": torch.ones(1, 1, 2)})
    assert shared.rows(slice(1, 3))["c"].shape == (1, 1, 2)
