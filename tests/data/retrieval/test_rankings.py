"""Users, histories and lists of the protocols, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from dnas.data.retrieval import Protocol
from dnas.data.retrieval.rankings import make_rankings
from dnas.data.retrieval.split import split_timeline
from dnas.data.retrieval.timeline import Timeline
from tests.data.retrieval.small import interactions, lives


def lists(found):
    return [part.tolist() for part in found.take(0, len(found.starts) - 1)]


#: User 1: items 5 1 2 3 | 4 1 | 6 2 7; user 2: 3 8 | 9 | 3: its test item is a train item.
ROWS = [(1, item, time) for time, item in enumerate([5, 1, 2, 3, 4, 1, 6, 2, 7])] + [
    (2, item, time) for time, item in enumerate([3, 8, 9, 3])
]


@pytest.fixture
def rankings():
    timeline = Timeline.of(interactions(ROWS))
    parts = split_timeline(timeline, rule="temporal", weights_proportion=0.5, seed=0)
    assert parts["test"].tolist() == [6, 7, 8, 12]
    return make_rankings(timeline, parts, length=3, seed=0)


def test_temporal(rankings):
    found = rankings[Protocol.TEMPORAL]
    assert found.users.tolist() == [1]  # user 2 has nothing to be found
    assert found.histories.tolist() == [[3, 4, 1]]
    assert lists(found.relevant) == [[6, 7]]  # 2 is excluded
    assert lists(found.excluded) == [[1, 2, 3, 5]]


def test_temporal_exclude(rankings):
    found = rankings[Protocol.TEMPORAL_EXCLUDE]
    assert found.histories.tolist() == [[3, 4, 1]]
    assert lists(found.relevant) == [[6, 7]]
    assert lists(found.excluded) == [[1, 2, 3, 4, 5]]


def test_validation(rankings):
    found = rankings[Protocol.VALIDATION]
    assert found.users.tolist() == [1, 2]
    assert found.histories.tolist() == [[1, 2, 3], [0, 3, 8]]
    assert lists(found.relevant) == [[4], [9]]  # 1 is a train item
    assert lists(found.excluded) == [[1, 2, 3, 5], [3, 8]]


def test_paper_takes_the_history_of_a_random_test_moment():
    timeline = Timeline.of(interactions(ROWS))
    parts = split_timeline(timeline, rule="temporal", weights_proportion=0.5, seed=0)
    seen = set()
    for seed in range(20):
        found = make_rankings(timeline, parts, length=3, seed=seed)[Protocol.PAPER]
        assert lists(found.relevant) == [[6, 7]]
        assert lists(found.excluded) == [[1, 2, 3, 5]]
        seen.add(tuple(found.histories[0].tolist()))
    assert seen == {(3, 4, 1), (4, 1, 6), (1, 6, 2)}


def test_last_train_items_with_the_papers_split():
    timeline = Timeline.of(lives(12, 7))
    parts = split_timeline(timeline, rule="paper", weights_proportion=0.5, seed=3)
    found = make_rankings(timeline, parts, length=4, seed=0)[Protocol.VALIDATION]
    for user, history in zip(found.users, found.histories, strict=True):
        mine = parts["train"][timeline.users[parts["train"]] == user]
        expected = [0, 0, 0, 0, *timeline.items[mine].tolist()][-4:]
        assert history.tolist() == expected


@pytest.mark.parametrize("rule", ["paper", "temporal"])
def test_only_the_papers_protocol_shows_a_test_item(rule):
    rng = np.random.default_rng(0)
    timeline = Timeline.of(lives(*rng.integers(1, 60, size=50)))
    parts = split_timeline(timeline, rule=rule, weights_proportion=0.5, seed=0)
    tested = timeline.items[parts["test"]]
    found = make_rankings(timeline, parts, length=20, seed=0)
    shown = {protocol: np.isin(one.histories, tested).any() for protocol, one in found.items()}
    assert shown == {
        Protocol.PAPER: True,
        Protocol.TEMPORAL: False,
        Protocol.TEMPORAL_EXCLUDE: False,
        Protocol.VALIDATION: False,
    }


def test_what_is_relevant_is_not_excluded():
    rng = np.random.default_rng(0)
    rows = [(1 + int(rng.integers(9)), 1 + int(rng.integers(30)), t) for t in range(400)]
    timeline = Timeline.of(interactions(rows))
    for rule in ("paper", "temporal"):
        parts = split_timeline(timeline, rule=rule, weights_proportion=0.5, seed=0)
        for one in make_rankings(timeline, parts, length=5, seed=0).values():
            pairs = zip(lists(one.relevant), lists(one.excluded), strict=True)
            for user, (relevant, excluded) in zip(one.users, pairs, strict=True):
                assert relevant
                assert not set(relevant) & set(excluded)
                part = "validation" if one.protocol is Protocol.VALIDATION else "test"
                mine = parts[part][timeline.users[parts[part]] == user]
                assert set(relevant) == set(timeline.items[mine].tolist()) - set(excluded)
