"""Order of a user's interactions, and histories."""

from __future__ import annotations

import numpy as np
import pytest

from dnas.data.retrieval.timeline import Timeline, Windows, stable_order
from tests.data.retrieval.small import interactions

ROWS = [(2, 10, 5), (1, 11, 7), (1, 12, 3), (2, 13, 5), (1, 14, 7), (1, 15, 7), (2, 16, 1)]


def test_ties_stay_as_in_the_file():
    timeline = Timeline.of(interactions(ROWS))
    assert timeline.users.tolist() == [1, 1, 1, 1, 2, 2, 2]
    assert timeline.items.tolist() == [12, 11, 14, 15, 16, 10, 13]
    assert timeline.starts.tolist() == [0, 0, 4, 7]
    assert timeline.counts().tolist() == [0, 4, 3]


def test_histories_are_padded_on_the_left_and_end_at_the_user():
    timeline = Timeline.of(interactions(ROWS))
    assert timeline.histories(np.arange(7), 3).tolist() == [
        [0, 0, 0],
        [0, 0, 12],
        [0, 12, 11],
        [12, 11, 14],
        [0, 0, 0],
        [0, 0, 16],
        [0, 16, 10],
    ]


def test_histories_longer_than_all_rows():
    timeline = Timeline.of(interactions(ROWS))
    assert timeline.histories(np.array([6]), 9).tolist() == [[0] * 7 + [16, 10]]


def test_windows_of_nothing():
    none = np.empty(0, dtype=np.int32)
    assert Windows(none, 2).take(np.array([0]), np.array([0])).tolist() == [[0, 0]]


@pytest.mark.parametrize("spread", [1, 5, 2**40, 2**62])
def test_stable_order_is_that_of_numpy(spread):
    rng = np.random.default_rng(0)
    values = rng.integers(-spread, spread, size=1000)
    np.testing.assert_array_equal(stable_order(values), np.argsort(values, kind="stable"))


def test_stable_order_of_few():
    assert stable_order(np.empty(0, dtype=np.int64)).tolist() == []
    assert stable_order(np.array([7], dtype=np.int32)).tolist() == [0]
