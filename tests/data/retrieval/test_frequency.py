"""The streaming estimate of an item's frequency."""

from __future__ import annotations

import numpy as np
import pytest

from dnas.data.retrieval import StreamingFrequency
from dnas.errors import DataError


def row_by_row(num_items, start, alpha, batches):
    """The recursion as it is defined."""
    latest, between = [0] * (num_items + 1), [float(start)] * (num_items + 1)
    given = []
    for step, items in enumerate(batches, start=1):
        estimates = []
        for item in items:
            between[item] = (1 - alpha) * between[item] + alpha * (step - latest[item])
            latest[item] = step
            estimates.append(1 / between[item])
        given.append(estimates)
    return given


def test_by_hand():
    estimate = StreamingFrequency(3, start=2, alpha=0.5)
    # Item 2: B = 1/2 * 2 + 1/2 * (1 - 0) = 1.5; again in the batch: 1/2 * 1.5 + 1/2 * 0 = 0.75.
    assert estimate.update(np.array([2, 1, 2]), 1).tolist() == [1 / 1.5, 1 / 1.5, 1 / 0.75]
    # Item 2 two steps later: 1/2 * 0.75 + 1/2 * 2 = 1.375. Item 3: 1/2 * 2 + 1/2 * 3 = 2.5.
    assert estimate.update(np.array([3, 2]), 3).tolist() == [1 / 2.5, 1 / 1.375]


@pytest.mark.parametrize("num_items", [1, 7, 400])
@pytest.mark.parametrize("alpha", [0.01, 0.3])
def test_all_rows_at_once_are_row_by_row(num_items, alpha):
    rng = np.random.default_rng(num_items)
    batches = [1 + rng.integers(num_items, size=rng.integers(1, 80)) for _ in range(60)]
    estimate = StreamingFrequency(num_items, start=3, alpha=alpha)
    expected = row_by_row(num_items, 3, alpha, batches)
    for step, items in enumerate(batches, start=1):
        np.testing.assert_allclose(estimate.update(items, step), expected[step - 1], rtol=1e-12)


def test_it_tends_to_the_expected_occurrences_and_may_exceed_one():
    rng = np.random.default_rng(0)
    share = np.array([0.7, 0.2, 0.1])
    estimate = StreamingFrequency(3, start=1, alpha=0.01)
    seen = []
    for step in range(1, 3001):
        items = 1 + rng.choice(3, size=4, p=share)
        estimates = estimate.update(items, step)
        if step > 1000:
            seen += list(zip(items, estimates, strict=True))
    found = [np.mean([1 / p for item, p in seen if item == i]) for i in (1, 2, 3)]
    np.testing.assert_allclose(found, 1 / (4 * share), rtol=0.1)


@pytest.mark.parametrize(("start", "alpha"), [(0, 0.01), (1, 0), (1, 1)])
def test_wrong_settings_are_refused(start, alpha):
    with pytest.raises(DataError, match=r"start=0|alpha="):
        StreamingFrequency(3, start, alpha)
