"""Flags, specs, interactions and the synthetic data set."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from dnas.data.retrieval import RetrievalDataConfig, TowerSpec
from dnas.data.retrieval.synthetic import HINT, synthetic
from dnas.errors import ConfigError, DataError
from tests.data.retrieval.small import lives


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data_set": "ml_10m"}, "--data_set='ml_10m': must be one of ml_100k, ml_1m, yelp"),
        ({"retrieval_split": "random"}, "--retrieval_split='random': must be one of paper"),
        ({"user_half": "third"}, "--user_half='third': must be one of all, first, second"),
        ({"data_set": "ml_1m"}, "--data_set=ml_1m needs --raw_data"),
        ({"raw_data": "x"}, "--raw_data=x has no effect with --data_set=towers_synthetic"),
        ({"seq_len": -1}, "--seq_len=-1: must be at least 0"),
        ({"validation_batch_size": 0}, "--validation_batch_size=0: must be at least 1"),
        ({"frequency_alpha": 1.0}, "--frequency_alpha=1.0: must be between 0 and 1"),
        ({"weights_training_proportion": 0.0}, "--weights_training_proportion=0.0: must be"),
        ({"data_cache": ""}, "--data_cache='': must name a folder"),
    ],
)
def test_wrong_flags_are_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        RetrievalDataConfig(**fields)


@pytest.mark.parametrize(
    ("data_set", "length"), [("ml_100k", 20), ("ml_1m", 20), ("yelp", 40), ("amazon_books", 50)]
)
def test_lengths_of_the_paper(data_set, length):
    config = RetrievalDataConfig(data_set=data_set, raw_data="folder")
    assert config.history_length == length
    assert dataclasses.replace(config, seq_len=7).history_length == 7


SPEC = TowerSpec(
    user_names=("user", "age"),
    user_sizes=(4, 3),
    item_names=("item", "year"),
    item_sizes=(6, 2),
    bag_name="genres",
    bag_size=5,
    bag_width=2,
    history_names=("item", "genres"),
    seq_len=3,
)


def test_a_spec_survives_json():
    assert TowerSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC
    assert (SPEC.num_users, SPEC.num_items) == (3, 5)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"user_sizes": (4,)}, "2 user fields but 1 user_sizes"),
        ({"item_sizes": (6, 0)}, "size of year is 0"),
        ({"item_names": ("item", "item")}, "names appear more than once: .'item'"),
        ({"history_names": ("item", "age")}, r"history_names \['age'\] are not among"),
        ({"history_names": ("year",)}, "must be the item's id, item"),
        ({"bag_width": 0}, "all three or none"),
        ({"seq_len": 0}, "seq_len=0: must be at least 1"),
        ({"user_names": (), "user_sizes": ()}, "user_names is empty"),
    ],
)
def test_wrong_specs_are_named(fields, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(SPEC, **fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "expected the keys"),
        ({"seq_len": "3"}, "seq_len must be int: '3'"),
        ({"user_sizes": [4, 3.5]}, "user_sizes must be a list of int"),
        ({"item_names": "item"}, "item_names must be a list of str: 'item'"),
    ],
)
def test_wrong_json_is_named(change, message):
    with pytest.raises(DataError, match=message):
        TowerSpec.from_json({**SPEC.to_json(), **change})
    with pytest.raises(DataError, match="found list"):
        TowerSpec.from_json([])


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("items", np.array([1, 2, 9]), r"items\[2\] is 9, not in \[1, 3\]"),
        ("users", np.array([1, 0, 1]), r"users\[1\] is 0, not in \[1, 1\]"),
        ("times", np.array([1, 2]), r"times has the shape \(2,\), expected \(3,\)"),
        ("item_fields", np.full((4, 2), 5), r"field item_id\[0\] is 5, not in \[0, 3\]"),
    ],
)
def test_wrong_interactions_are_named(field, value, message):
    with pytest.raises(DataError, match=message):
        dataclasses.replace(lives(3), **{field: value})


def test_the_content_hash_sees_everything():
    data = lives(3, 4)
    changed = [data.content_hash()]
    for name in ("users", "items", "times", "user_fields", "item_fields"):
        array = getattr(data, name).copy()
        array[[0, -1]] = array[[-1, 0]]
        changed.append(dataclasses.replace(data, **{name: array}).content_hash())
    changed.append(
        dataclasses.replace(data, spec=dataclasses.replace(data.spec, seq_len=9)).content_hash()
    )
    assert len(set(changed)) == len(changed)


MADE = {"users": 300, "items": 120, "events": 30, "groups": 6, "seq_len": 10}


def test_the_synthetic_set_is_what_it_says():
    data, truth = synthetic(**MADE, seed=0)
    counts = np.bincount(data.users)[1:]
    assert counts.min() >= 15
    assert counts.max() <= 45
    assert counts.mean() == pytest.approx(30, abs=1)
    pairs = data.users.astype(np.int64) * 1000 + data.items
    assert len(np.unique(pairs)) == len(pairs)  # without replacement
    np.testing.assert_array_equal(data.item_fields[1:, 1], truth.item_groups[1:])
    met = truth.user_groups[1:] == data.user_fields[1:, 1]
    assert met.mean() == pytest.approx(HINT + (1 - HINT) / 6, abs=0.07)
    assert (data.item_bags[1::2, 1] == 6).all()  # odd items have one tag


def test_first_draws_follow_the_weights():
    data, truth = synthetic(users=4000, items=12, events=4, groups=3, seq_len=5, seed=1)
    order = np.lexsort((data.times, data.users))
    users, items = data.users[order], data.items[order]
    first = np.flatnonzero(np.diff(users, prepend=0))
    weights = truth.weights(users[first])
    expected = (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0)
    found = np.bincount(items[first], minlength=13)
    # Four standard deviations of a count.
    assert (np.abs(found - expected) < 4 * np.sqrt(expected + 1)).all()


def test_the_synthetic_set_is_its_seed():
    one, other = synthetic(**MADE, seed=0)[0], synthetic(**MADE, seed=1)[0]
    assert one.content_hash() == synthetic(**MADE, seed=0)[0].content_hash()
    assert one.content_hash() != other.content_hash()


def test_more_events_than_items():
    with pytest.raises(DataError, match="--synthetic_events=100: a user may have 150 of only 120"):
        synthetic(**{**MADE, "events": 100}, seed=0)
