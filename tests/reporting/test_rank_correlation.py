"""Correlations and choices: numbers by hand, properties, and scipy's answers where it is there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dnas.reporting.rank_correlation import (
    attainable_pearson,
    kendall_tau_b,
    overlap_of_best,
    pearson,
    regret_by_chance,
    regret_of_best,
    spearman,
)


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0),
        ([1, 2, 3, 4], [9, 7, 5, 1], -1.0),
        # Pairs of 4: concordant 12 13 14 24 34, discordant 23: (5 - 1) / 6.
        ([1, 2, 3, 4], [1, 3, 2, 4], 4 / 6),
        # x ties 1-2, y ties 3-4: of 6 pairs 13 14 23 24 agree; 4 / sqrt(5 * 5).
        ([1, 1, 2, 3], [1, 2, 3, 3], 4 / 5),
        # Wikipedia's and scipy's example: -6 / sqrt(...): x = 12 2 1 12 2, y = 1 4 7 1 0.
        ([12, 2, 1, 12, 2], [1, 4, 7, 1, 0], -0.47140452079103173),
    ],
)
def test_kendall_by_hand(x, y, expected):
    assert kendall_tau_b(x, y) == pytest.approx(expected, abs=1e-15)


def test_pearson_by_hand():
    # Deviations (-1, 0, 1) and (-2, 1, 1): 3 / sqrt(2 * 6).
    assert pearson([1, 2, 3], [0, 3, 3]) == pytest.approx(3 / math.sqrt(12), abs=1e-15)
    assert pearson([1, 2, 3], [5, 3, 1]) == pytest.approx(-1.0, abs=1e-15)


@pytest.mark.parametrize("correlation", [kendall_tau_b, pearson])
def test_nothing_correlates_with_a_constant(correlation):
    assert math.isnan(correlation([1, 2, 3], [0.1, 0.1, 0.1]))
    assert math.isnan(correlation([0.3] * 7, range(7)))
    assert math.isnan(correlation([1, 2], [1, 2], [3, 0]))


@pytest.mark.parametrize("correlation", [kendall_tau_b, pearson])
def test_weights_count_subnets_several_times(correlation):
    x, y = np.array([3.0, 1.0, 4.0, 1.5, 9.0]), np.array([2.0, 7.0, 1.0, 8.0, 2.5])
    counts = np.array([[1, 1, 1, 1, 1], [2, 0, 1, 1, 1], [0, 3, 1, 0, 1]])
    found = correlation(x, y, counts)
    assert found.shape == (3,)
    for row, value in zip(counts, found, strict=True):
        repeated = np.repeat(np.arange(5), row)
        if correlation is pearson:
            expected = correlation(x[repeated], y[repeated])
        else:
            # A subnet and its copy are tied in both, so they count in no sum.
            pairs = [(i, j) for i in repeated for j in repeated if i != j]
            signs = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs]
            expected = sum(signs) / len(pairs)
        assert value == pytest.approx(expected, abs=1e-14)


def test_kendall_looks_at_order_only_and_pearson_at_shape():
    x = np.random.default_rng(0).normal(size=30)
    y = x + np.random.default_rng(1).normal(size=30)
    assert kendall_tau_b(np.exp(x), 5 * y - 3) == kendall_tau_b(x, y)
    assert kendall_tau_b(-x, y) == -kendall_tau_b(x, y)
    assert pearson(1e-6 * x + 0.4, 5 * y - 3) == pytest.approx(float(pearson(x, y)), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_as_scipy_has_it(seed):
    stats = pytest.importorskip("scipy.stats", reason="scipy is only there with scikit-learn")
    generator = np.random.default_rng(seed)
    x, y = generator.integers(0, 12, (2, 40)).astype(float)
    y += x
    assert kendall_tau_b(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
    assert pearson(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2, 3], "equally long"),
        ([], [], "equally long"),
        ([1, float("nan")], [1, 2], "NaN or infinite"),
        ([1, 2], [1, float("inf")], "NaN or infinite"),
    ],
)
def test_what_cannot_be_correlated_is_refused(x, y, message):
    for correlation in (kendall_tau_b, pearson, spearman):
        with pytest.raises(ValueError, match=message):
            correlation(x, y)
    with pytest.raises(ValueError, match="do not fit 2 subnets"):
        kendall_tau_b([1, 2], [1, 2], [1, 1, 1])


def test_spearman_by_hand():
    # Ranks 1 2 3 4 and 1 3 2 4: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15).
    assert spearman([1, 2, 30, 400], [0.1, 0.3, 0.2, 0.4]) == pytest.approx(0.8)
    # Ranks 1 2.5 2.5 and 1 2 3: covariance 1.5, variances 1.5 and 2.
    assert spearman([5, 7, 7], [1, 2, 3]) == pytest.approx(1.5 / math.sqrt(1.5 * 2))
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))


def test_spearman_of_resamples_is_that_of_repeated_pairs():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, (2, 7)).astype(float)
    counts = generator.integers(0, 3, (4, 7))
    each = [spearman(np.repeat(x, row), np.repeat(y, row)) for row in counts]
    assert spearman(x, y, counts) == pytest.approx(np.array(each), abs=1e-12)


def test_what_the_best_by_score_are_worth():
    score = [0.5, 0.1, 0.4, 0.2]
    truth = [0.40, 0.47, 0.42, 0.45]
    # By score 1 3 2 0, in truth 0 2 3 1.
    assert overlap_of_best(score, truth, 1) == 0
    assert overlap_of_best(score, truth, 2) == 0
    assert overlap_of_best(score, truth, 3) == pytest.approx(2 / 3)
    assert overlap_of_best(score, truth, 4) == 1
    assert regret_of_best(score, truth) == pytest.approx(0.07)
    assert regret_of_best(score, truth, 3) == pytest.approx(0.02)
    assert regret_of_best(score, truth, 4) == 0
    assert regret_by_chance(truth) == pytest.approx(np.mean(truth) - 0.40)
    # Of 6 pairs 3 hold 0.40, 2 more have 0.42 as their best, 1 has 0.45.
    assert regret_by_chance(truth, 2) == pytest.approx((2 * 0.02 + 0.05) / 6)
    assert regret_by_chance(truth, 4) == pytest.approx(0)


@pytest.mark.parametrize("k", [0, 5])
def test_k_is_at_most_the_number_of_subnets(k):
    for function in (overlap_of_best, regret_of_best):
        with pytest.raises(ValueError, match="not from 1 to 4"):
            function([1, 2, 3, 4], [1, 2, 3, 4], k)
    with pytest.raises(ValueError, match="not from 1 to 4"):
        regret_by_chance([1, 2, 3, 4], k)


def test_attainable_correlation():
    assert attainable_pearson(0.81, 1) == pytest.approx(0.9)
    # Two trainings: 2 * 0.5 / 1.5.
    assert attainable_pearson(0.5, 2) == pytest.approx(math.sqrt(2 / 3))
    assert attainable_pearson(-0.2, 3) == 0
    assert attainable_pearson(1.0, 3) == 1
    assert math.isnan(attainable_pearson(float("nan"), 3))


def test_attainable_correlation_is_that_of_the_truth_itself():
    generator = np.random.default_rng(3)
    true = generator.normal(size=20_000)
    trainings = true[None] + 0.8 * generator.normal(size=(3, 20_000))
    r = float(pearson(trainings[0], trainings[1]))
    assert float(pearson(true, trainings.mean(0))) == pytest.approx(
        attainable_pearson(r, 3), abs=0.01
    )
