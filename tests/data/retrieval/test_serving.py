"""Ids of publishers, and what a service asks a model with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dnas.data.retrieval import (
    RetrievalData,
    RetrievalDataConfig,
    corpus_inputs,
    user_requests,
)
from dnas.data.retrieval.cache import cached
from dnas.errors import DataError
from tests.data.retrieval.small import interactions

ROWS = [(1, 3, 5), (1, 1, 2), (2, 2, 1), (1, 2, 3), (1, 3, 4), (2, 5, 9), (1, 4, 6), (2, 1, 10)]


def data(**keys):
    found = replace(interactions(ROWS), **keys)
    return RetrievalData(found, RetrievalDataConfig())


def test_the_corpus_has_an_item_in_each_row():
    fields, bags = corpus_inputs(data())
    assert fields.tolist() == [[1, 1], [2, 0], [3, 1], [4, 0], [5, 1]]
    assert bags.shape == (5, 0)


def test_users_are_asked_for_after_all_their_interactions():
    asked = user_requests(data(), [2, 1])
    assert asked.fields.tolist() == [[2], [1]]
    # By time: 2 had 2, 5, 1; 1 had 1, 2, 3, 3, 4. Of each item: its number and whether it is odd.
    assert asked.history.tolist() == [[[2, 0], [5, 1], [1, 1]], [[3, 1], [3, 1], [4, 0]]]
    assert asked.seen.tolist() == [[1, 2, 5, 0], [1, 2, 3, 4]]


def test_a_short_life_is_padded_on_the_left():
    found = interactions([(1, 1, 1), (2, 2, 1), (2, 1, 2), (2, 3, 3), (2, 4, 4), (1, 2, 0)])
    asked = user_requests(RetrievalData(found, RetrievalDataConfig()), [1])
    assert asked.history.tolist() == [[[0, 0], [2, 0], [1, 1]]]


@pytest.mark.parametrize("number", [0, 3, -1])
def test_a_user_that_is_not_there_is_refused(number):
    with pytest.raises(DataError, match=f"user {number}: numbers of users are 1 to 2"):
        user_requests(data(), [1, number])


def test_ids_of_publishers():
    found = data(user_keys=np.array([0, 70, 7]), item_keys=np.array(["", *"edcba"])).interactions
    assert found.user_numbers([7, 70, 7]).tolist() == [2, 1, 2]
    assert found.item_numbers([["a", "e"]]).tolist() == [[5, 1]]
    assert found.item_keys[[5, 1]].tolist() == ["a", "e"]
    with pytest.raises(DataError, match=r"user 8 is not in the data \(1 of these\)"):
        found.user_numbers([7, 8])
    with pytest.raises(DataError, match=r"item 'f' is not in the data"):
        found.item_numbers("f")
    with pytest.raises(DataError, match=r"item 5: the publisher's ids are like .*of another type"):
        found.item_numbers(5)
    assert found.user_numbers([]).tolist() == []


def test_without_ids_the_numbers_are_the_ids():
    found = interactions(ROWS)
    assert found.user_keys.tolist() == [0, 1, 2]
    assert found.item_numbers([5, 3]).tolist() == [5, 3]


def test_ids_change_no_hash():
    assert data().record == data(item_keys=np.array(["", *"edcba"])).record


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"item_keys": np.array(["", *"abcda"])}, "item_keys has .*'a'.* more than once"),
        ({"user_keys": np.array([0, 1])}, r"user_keys has the shape \(2,\), expected \(3,\)"),
    ],
)
def test_wrong_ids_are_refused(keys, message):
    with pytest.raises(DataError, match=message):
        data(**keys)


def test_ids_are_in_the_cache(tmp_path):
    raw = tmp_path / "raw"
    raw.write_text("x")
    whole = replace(interactions(ROWS), item_keys=np.array(["", "\u00e9", *"dcba"]))
    for _ in range(2):
        found = cached("small", [raw], tmp_path / "cache", 3, lambda: whole)
        assert found.item_keys.tolist() == whole.item_keys.tolist()
        assert found.user_keys.tolist() == [0, 1, 2]
