"""Parts of the timeline."""

from __future__ import annotations

import numpy as np
import pytest

from dnas.data.retrieval.split import split_record, split_timeline
from dnas.data.retrieval.timeline import Timeline
from dnas.errors import DataError
from tests.data.retrieval.small import interactions, lives


def split(timeline, rule, seed=0, proportion=0.5):
    return split_timeline(timeline, rule=rule, weights_proportion=proportion, seed=seed)


def test_temporal_by_hand():
    # 5: 2 train, 1 validates, 2 test. 8: 4, 2, 2. 1: tests.
    parts = split(Timeline.of(lives(5, 8, 1)), "temporal")
    assert parts["train"].tolist() == [0, 1, 5, 6, 7, 8]
    assert sorted(parts["validation"]) == [2, 9, 10]
    assert parts["test"].tolist() == [3, 4, 11, 12, 13]


def test_paper_by_hand():
    # Pools of 3 + 6 + 3 rows of 18, where floor(3 * 18 / 4) = 13 are wanted: one short.
    timeline = Timeline.of(lives(5, 8, 5))
    parts = split(timeline, "paper")
    pool = {0, 1, 2, 5, 6, 7, 8, 9, 10, 13, 14, 15}
    later = {3, 4, 11, 12, 16, 17}
    assert len(parts["train"]) == 9
    assert len(parts["validation"]) == 13 - 9
    assert set(parts["train"]) < pool
    given = set(parts["validation"]) - pool
    assert len(given) == 1
    assert given <= {3, 11, 16}  # the first later row of a user
    assert set(parts["test"]) == later - given


@pytest.mark.parametrize("rule", ["paper", "temporal"])
@pytest.mark.parametrize("seed", range(5))
def test_parts_are_disjoint_and_complete(rule, seed):
    rng = np.random.default_rng(seed)
    timeline = Timeline.of(lives(*rng.integers(1, 30, size=40)))
    parts = split(timeline, rule, seed, 0.7)
    whole = np.concatenate([parts[name] for name in ("train", "validation", "test")])
    np.testing.assert_array_equal(np.sort(whole), np.arange(len(timeline)))
    both = np.concatenate([parts["weights"], parts["theta"]])
    np.testing.assert_array_equal(np.sort(both), parts["train"])
    assert len(parts["weights"]) == round(0.7 * len(parts["train"]))
    if rule == "paper":
        n = len(timeline)
        assert [len(parts[name]) for name in ("train", "validation")] == [
            n // 2,
            3 * n // 4 - n // 2,
        ]


@pytest.mark.parametrize("rule", ["paper", "temporal"])
def test_no_test_row_is_in_or_before_a_row_of_training_or_validation(rule):
    """Items are all different here, so that a test item anywhere is a leak."""
    rng = np.random.default_rng(1)
    timeline = Timeline.of(lives(*rng.integers(1, 60, size=100)))
    for seed in range(5):
        parts = split(timeline, rule, seed)
        tested = set(timeline.items[parts["test"]].tolist())
        for name in ("train", "validation"):
            inputs = timeline.histories(parts[name], 50).ravel().tolist()
            assert not tested & set(inputs)
            assert not tested & set(timeline.items[parts[name]].tolist())


def test_temporal_histories_of_training_hold_training_items_only():
    timeline = Timeline.of(lives(9, 40, 17))
    parts = split(timeline, "temporal")
    trained = {0, *timeline.items[parts["train"]].tolist()}
    assert set(timeline.histories(parts["train"], 50).ravel().tolist()) <= trained


def test_temporal_validation_is_later_than_training_for_each_user():
    rng = np.random.default_rng(2)
    timeline = Timeline.of(lives(*rng.integers(4, 30, size=30)))
    parts = split(timeline, "temporal")
    for user in range(1, 31):
        mine = {name: part[timeline.users[part] == user] for name, part in parts.items()}
        assert mine["train"].max() < mine["validation"].min()
        assert mine["validation"].max() < mine["test"].min()


def test_the_seed_decides():
    timeline = Timeline.of(lives(20, 30, 40))
    one, same, other = (split(timeline, "paper", seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["train"], other["train"])


def test_validation_is_in_no_order_of_users():
    """Rows of a user side by side would be each other's negatives."""
    timeline = Timeline.of(lives(*[40] * 20))
    for rule in ("paper", "temporal"):
        users = timeline.users[split(timeline, rule)["validation"]]
        assert np.mean(users[1:] == users[:-1]) < 0.2


def test_the_record_tells_parts_apart():
    timeline = Timeline.of(lives(20, 30))
    records = [
        split_record(split(timeline, rule, seed), rule=rule, weights_proportion=0.5, seed=seed)[
            "parts"
        ]
        for rule, seed in (("paper", 0), ("paper", 1), ("temporal", 0))
    ]
    for name in ("train", "validation"):
        assert len({record[name]["hash"] for record in records}) == 3
    assert records[2]["train"]["rows"] == 25


def test_too_few_rows():
    with pytest.raises(DataError, match="the train part of 1 rows of 1 users is empty"):
        split(Timeline.of(interactions([(1, 1, 0)])), "temporal")
