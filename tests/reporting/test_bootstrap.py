"""Bootstrap intervals: known cases, coverage, and pairing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dnas.reporting.bootstrap import Interval, bca_interval, resamples
from dnas.reporting.rank_correlation import kendall_tau_b, pearson


def mean_of(values):
    values = np.asarray(values, dtype=float)
    return lambda counts: (counts * values).sum(-1) / counts.sum(-1)


def test_resamples_draw_n_of_n_and_repeat_themselves():
    drawn = resamples(7, 500, seed=4)
    assert drawn.shape == (500, 7)
    assert (drawn.sum(1) == 7).all()
    assert drawn.mean() == 1
    assert np.array_equal(drawn, resamples(7, 500, seed=4))
    assert not np.array_equal(drawn, resamples(7, 500, seed=5))


def test_of_a_mean_it_is_the_known_interval():
    values = np.random.default_rng(0).normal(size=400)
    found = bca_interval(mean_of(values), resamples(400, 20_000))
    half = 1.959964 * values.std() / math.sqrt(400)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.06 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.06 * half)


def test_skewness_moves_it_as_scipy_has_it():
    stats = pytest.importorskip("scipy.stats", reason="scipy is only there with scikit-learn")
    values = np.random.default_rng(1).exponential(size=30)
    found = bca_interval(mean_of(values), resamples(30, 20_000))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.low == pytest.approx(theirs.low, abs=0.02)
    assert found.high == pytest.approx(theirs.high, abs=0.05)
    # Skewed to the right: farther above than below.
    assert found.high - found.value > found.value - found.low


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator = np.random.default_rng(5)
    rho, n = 0.6, 60
    drawn = resamples(n, 600)
    tau, hits = 2 / math.pi * math.asin(rho), np.zeros(2)
    for _ in range(200):
        x, e = generator.normal(size=(2, n))
        y = rho * x + math.sqrt(1 - rho**2) * e
        for i, (correlation, true) in enumerate(((kendall_tau_b, tau), (pearson, rho))):
            found = bca_interval(lambda w, f=correlation, x=x, y=y: f(x, y, w), drawn, 0.9)
            hits[i] += found.low <= true <= found.high
    # 0.9 with a standard error of 0.02.
    assert (hits / 200 > 0.83).all()
    assert (hits / 200 < 0.96).all()


def test_a_perfect_order_leaves_no_doubt():
    x = np.arange(20.0)
    found = bca_interval(lambda w: kendall_tau_b(x, x, w), resamples(20, 200))
    assert found == Interval(1.0, 1.0, 1.0)
    assert found.excludes_zero


def test_a_paired_difference_is_sharper_than_two_intervals():
    generator = np.random.default_rng(8)
    truth = generator.normal(size=120)
    good = truth + 0.60 * generator.normal(size=120)
    worse = good + 0.45 * generator.normal(size=120)
    drawn = resamples(120, 2000)
    one = bca_interval(lambda w: kendall_tau_b(good, truth, w), drawn)
    two = bca_interval(lambda w: kendall_tau_b(worse, truth, w), drawn)
    both = bca_interval(
        lambda w: kendall_tau_b(good, truth, w) - kendall_tau_b(worse, truth, w), drawn
    )
    assert both.value == pytest.approx(one.value - two.value)
    assert both.high - both.low < 0.8 * ((one.high - one.low) + (two.high - two.low)) / 2
    assert both.excludes_zero
    assert one.low < two.high  # which the two intervals by themselves do not show


def test_an_undefined_statistic_has_no_interval():
    tied = np.array([1.0, 1.0, 1.0])
    found = bca_interval(lambda w: kendall_tau_b(tied, [1, 2, 3], w), resamples(3, 50))
    assert math.isnan(found.value)
    assert math.isnan(found.low)
    assert not found.excludes_zero
    # Two subnets: half of the resamples hold one of them twice.
    found = bca_interval(lambda w: kendall_tau_b([1, 2], [1, 2], w), resamples(2, 200))
    assert found.value == 1
    assert math.isnan(found.low)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_the_level_is_a_probability(level):
    with pytest.raises(ValueError, match="not between 0 and 1"):
        bca_interval(mean_of([1, 2]), resamples(2, 10), level)
