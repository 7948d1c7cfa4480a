"""Orders of an epoch: every row once, and as random as they say, no less."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dnas.data.order import FullOrder, Order, WindowOrder, epoch_order

ROWS, WINDOW, CHUNK = 4000, 400, 20
EPOCHS = 400


def whole(order: Order, rows: int, epoch: int) -> np.ndarray:
    """The rows of an epoch in their order."""
    parts = []
    place = 0
    while place < rows:
        start, part = order.around(epoch, place)
        assert start == place
        parts.append(part)
        place += part.size
    return np.concatenate(parts)


def windows(seed: int = 3) -> WindowOrder:
    return WindowOrder(ROWS, seed, WINDOW, CHUNK)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.integers(1, 300),
    window=st.integers(1, 320),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 5),
    places=st.lists(st.integers(0, 899), max_size=6),
)
def test_every_row_once_whatever_was_asked_before(
    rows: int, window: int, chunk: int, seed: int, places: list[int]
) -> None:
    order = WindowOrder(rows, seed, window, chunk)
    epochs = [whole(order, rows, epoch) for epoch in range(3)]
    for found in epochs:
        assert sorted(found.tolist()) == list(range(rows))
    for place in places:
        epoch, place = divmod(place % (3 * rows), rows)
        start, part = order.around(epoch, place)
        np.testing.assert_array_equal(part, epochs[epoch][start : start + part.size])
        assert start <= place < start + part.size
    fresh = WindowOrder(rows, seed, window, chunk)
    np.testing.assert_array_equal(whole(fresh, rows, 2), epochs[2])


def test_a_window_is_few_stretches_of_consecutive_rows() -> None:
    order = windows()
    for window in range(ROWS // WINDOW):
        starts, lengths = order.pieces(0, window)
        assert lengths.sum() == WINDOW
        assert starts.size <= WINDOW // CHUNK + 3
        expected = np.concatenate(
            [np.arange(a, a + n) for a, n in zip(starts, lengths, strict=True)]
        )
        _, found = order.around(0, window * WINDOW)
        np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_seeds_epochs_and_windows_differ() -> None:
    orders = [whole(windows(seed), ROWS, epoch) for seed in (3, 4) for epoch in (0, 1)]
    assert len({order.tobytes() for order in orders}) == 4
    ranks = {np.argsort(windows().around(0, w * WINDOW)[1]).tobytes() for w in range(10)}
    assert len(ranks) == 10


def test_the_full_order_is_uniform() -> None:
    counts = np.zeros((4, 4))
    for epoch in range(2000):
        counts[np.arange(4), epoch_order(4, 1, epoch)] += 1
    assert np.abs(counts / 2000 - 0.25).max() < 0.05
    order = FullOrder(100, 1)
    np.testing.assert_array_equal(whole(order, 100, 2), epoch_order(100, 1, 2))


@pytest.mark.parametrize("kind", ["window", "full"])
def test_places_are_uniform_and_unrelated_between_epochs(kind: str) -> None:
    order: Order = windows() if kind == "window" else FullOrder(ROWS, 3)
    places = np.empty((EPOCHS, ROWS))
    for epoch in range(EPOCHS):
        places[epoch, whole(order, ROWS, epoch)] = np.arange(ROWS)
    # Chunks go together: it is their number that says how far chance may take a correlation.
    limit = 4.5 / np.sqrt(ROWS / CHUNK)
    for before, after in pairwise(places):
        assert abs(np.corrcoef(np.arange(ROWS), after)[0, 1]) < limit
        assert abs(np.corrcoef(before, after)[0, 1]) < limit
    # Rows at both ends and between are in each tenth of an epoch equally often.
    rows = np.array([0, 1, 17, 1000, 1990, 2503, 3998, 3999])
    tenths = (places[:, rows] // (ROWS / 10)).astype(int)
    share = np.array([np.bincount(column, minlength=10) for column in tenths.T]) / EPOCHS
    assert np.abs(share - 0.1).max() < 5 * np.sqrt(0.09 / EPOCHS)


def test_neighbours_are_separated_and_not_the_same_in_all_epochs() -> None:
    order = windows()
    together = np.zeros(ROWS - 1)
    gaps = []
    for epoch in range(40):
        places = np.empty(ROWS, dtype=np.int64)
        places[whole(order, ROWS, epoch)] = np.arange(ROWS)
        gap = np.abs(np.diff(places))
        gaps.append(gap)
        together += places[1:] // WINDOW == places[:-1] // WINDOW
    gap = np.concatenate(gaps)
    # Within a window the distance of two places chosen at random is a third of it.
    assert abs(np.mean(gap[gap < WINDOW]) / (WINDOW / 3) - 1) < 0.03
    assert np.mean(gap < 10) < 1.2 * (2 * 10 / WINDOW)
    # The cuts move: no two neighbours are parted as often as a cut that stays would part them.
    assert together.min() > 40 * 0.6
    assert together.max() <= 40
    assert np.mean(together == 40) < 0.5


def test_a_batch_has_rows_from_all_over() -> None:
    _, rows = windows().around(0, 0)
    chunks = np.unique(rows[:100] // CHUNK).size
    assert chunks >= WINDOW / CHUNK
    share = np.histogram(rows[:100], bins=4, range=(0, ROWS))[0] / 100
    assert share.min() > 0.02
