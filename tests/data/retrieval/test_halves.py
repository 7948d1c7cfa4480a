"""Half of the users as a data set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dnas.data.retrieval import RetrievalDataConfig, prepare_retrieval
from dnas.data.retrieval.halves import half_of_users
from dnas.data.retrieval.synthetic import synthetic
from dnas.errors import DataError
from tests.data.retrieval.small import interactions, lives


def made(seed: int = 0):
    return synthetic(users=25, items=60, events=12, groups=3, seq_len=4, seed=seed)[0]


def described(found):
    """What each row says, without the numbers of users and items, which halves have their own."""
    return [
        (int(time), *found.user_fields[user, 1:], *found.item_fields[item, 1:])
        for user, item, time in zip(found.users, found.items, found.times, strict=True)
    ]


def test_all_users_are_the_data_set_itself():
    whole = made()
    assert half_of_users(whole, "all", 666) is whole


@pytest.mark.parametrize("seed", [0, 666])
def test_the_halves_are_the_whole_and_share_no_user(seed):
    whole = made()
    # The time is made to tell the row, in which user and item can be looked up.
    keys = {"user_keys": np.arange(26) * 10, "item_keys": np.array([f"i{n}" for n in range(61)])}
    whole = replace(whole, times=np.arange(len(whole)), **keys)
    halves = [half_of_users(whole, half, seed) for half in ("first", "second")]
    assert [half.spec.num_users for half in halves] == [13, 12]
    rows = [half.times for half in halves]
    assert sorted(np.concatenate(rows)) == list(range(len(whole)))
    users = [set(whole.users[part]) for part in rows]
    assert not users[0] & users[1]
    for half, part in zip(halves, rows, strict=True):
        assert (np.diff(part) > 0).all()  # in the order of before
        kept = replace(whole, users=whole.users[part], items=whole.items[part], times=part)
        assert described(half) == described(kept)
        # Numbers from 1 without gaps, in the order of before.
        for new, old in ((half.users, kept.users), (half.items, kept.items)):
            assert np.array_equal(np.unique(old)[new - 1], old)
            assert set(new) == set(range(1, len(np.unique(old)) + 1))
        assert np.array_equal(half.item_bags[half.items], whole.item_bags[kept.items])
        assert np.array_equal(half.user_keys[half.users], whole.user_keys[kept.users])
        assert np.array_equal(half.item_keys[half.items], whole.item_keys[kept.items])
        assert np.array_equal(half.user_fields[:, 0], np.arange(half.spec.num_users + 1))
        assert np.array_equal(half.item_fields[:, 0], np.arange(half.spec.num_items + 1))
        assert not half.user_fields[0].any()
        assert not half.item_fields[0].any()


def test_an_item_of_the_other_half_alone_is_gone():
    whole = interactions([(1, 1, 0), (2, 2, 1), (1, 3, 2), (2, 3, 3)])
    items = {half: half_of_users(whole, half, 0).spec.num_items for half in ("first", "second")}
    assert items == {"first": 2, "second": 2}


def test_the_seed_decides_who_is_in_which():
    whole = made()
    first = half_of_users(whole, "first", 1)
    assert first.content_hash() == half_of_users(whole, "first", 1).content_hash()
    assert first.content_hash() != half_of_users(whole, "first", 2).content_hash()


def test_of_one_user_there_is_no_second_half():
    with pytest.raises(DataError, match="--user_half=second: no interaction of 1 users"):
        half_of_users(lives(5), "second", 0)


def test_the_flag_decides_what_is_prepared():
    data = {
        half: prepare_retrieval(RetrievalDataConfig(user_half=half))
        for half in ("all", "first", "second")
    }
    users = {half: found.spec.num_users for half, found in data.items()}
    assert users["all"] == users["first"] + users["second"]
    assert users["first"] - users["second"] in (0, 1)
    records = {str(found.record["content_hash"]) for found in data.values()}
    assert len(records) == 3
