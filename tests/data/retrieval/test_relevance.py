"""Labels of ranking and loss batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dnas.data.retrieval import Protocol, is_ranking, pack, unpack
from dnas.data.retrieval.relevance import loss_labels
from dnas.errors import DataError


def test_pack_by_hand():
    relevant = [np.array([3, 4]), np.array([1])]
    excluded = [np.array([5, 6, 7]), np.array([], dtype=int)]
    labels = pack(Protocol.TEMPORAL, relevant, excluded)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [[[1, 3, 4, 0], [1, 5, 6, 7]], [[1, 1, 0, 0], [1, 0, 0, 0]]]
    assert is_ranking(labels)


def test_unpack_gives_back_what_was_packed():
    protocol, relevant, excluded = unpack(pack(2, [np.array([9])], [np.array([2, 8])]))
    assert protocol == Protocol.TEMPORAL_EXCLUDE
    assert relevant.tolist() == [[9, 0]]
    assert excluded.tolist() == [[2, 8]]


def test_users_with_nothing_at_all_can_be_packed():
    none = np.array([], dtype=int)
    assert pack(0, [none], [none]).tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("relevant", "excluded", "message"),
    [
        ([], [], "0 lists of relevant"),
        ([np.array([1])], [], "1 lists of relevant and 0 of excluded"),
        ([np.array([0])], [np.array([2])], "item 0: items are numbered from 1"),
    ],
)
def test_wrong_lists_are_refused(relevant, excluded, message):
    with pytest.raises(DataError, match=message):
        pack(0, relevant, excluded)


def test_labels_of_a_loss_batch_are_no_ranking():
    labels = loss_labels(np.array([7, 2]), np.log([0.5, 2.0]), np.ones(2))
    assert labels.dtype == torch.float64
    torch.testing.assert_close(
        labels, torch.tensor([[7, -0.6931471805599453, 1], [2, 0.6931471805599453, 1]]).double()
    )
    assert not is_ranking(labels)
    with pytest.raises(DataError, match=r"got \(2, 3\): these are the labels of a loss batch"):
        unpack(labels)


def test_suffixes_of_metrics():
    assert [protocol.suffix for protocol in Protocol] == [
        ".paper",
        ".temporal",
        ".temporal_exclude",
        "",
    ]
