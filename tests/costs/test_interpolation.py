"""Prices of shapes that were not measured: known laws come back, and error bars hold."""

from __future__ import annotations

import numpy as np
import pytest

from dnas.costs.interpolation import (
    LEAST_POINTS,
    fit_law,
    least_points,
    nonnegative_least_squares,
)

SIZES = np.array([[i, o] for i in (4, 16, 64, 256) for o in (8, 32, 128)], dtype=float)
#: FLOPs and bytes of linears of these sizes on 16 rows.
WORK = np.column_stack([32 * SIZES[:, 0] * SIZES[:, 1], 4 * (SIZES.prod(1) + 16 * SIZES.sum(1))])


def work_of(size):
    return [32 * size[0] * size[1], 4 * (size[0] * size[1] + 16 * (size[0] + size[1]))]


def test_a_law_of_work_comes_back():
    law = fit_law(SIZES, WORK, 5.0 + 0.001 * WORK[:, 0] + 0.002 * WORK[:, 1])
    assert law is not None
    assert law.name == "work"
    assert law.error < 1e-9
    flops, moved = work_of([100, 50])
    assert law([100, 50], [flops, moved]) == pytest.approx(5 + 0.001 * flops + 0.002 * moved)


def test_a_power_law_comes_back_without_work():
    law = fit_law(SIZES, None, 0.3 * SIZES[:, 0] ** 0.8 * SIZES[:, 1] ** 0.4)
    assert law is not None
    assert law.name == "power"
    assert law.error < 1e-9
    assert law([100, 50], None) == pytest.approx(0.3 * 100**0.8 * 50**0.4)


def test_curvature_needs_more_points():
    logs = np.log(SIZES)
    times = np.exp(0.5 + 0.3 * logs[:, 0] + 0.1 * logs[:, 0] * logs[:, 1])
    law = fit_law(SIZES, None, times)
    assert law is not None
    assert law.error < 1e-9  # 6 numbers, 12 points
    few = fit_law(SIZES[:6], None, times[:6])
    assert few is not None
    assert few.error > 0.01


def test_the_error_bar_is_that_of_the_noise():
    rng = np.random.default_rng(1)
    truth = 5.0 + 0.001 * WORK[:, 0] + 0.002 * WORK[:, 1]
    misses, bars = [], []
    for _ in range(60):
        law = fit_law(SIZES, WORK, truth * np.exp(0.1 * rng.standard_normal(len(truth))))
        assert law is not None
        flops, moved = work_of([100, 50])
        misses.append(law([100, 50], [flops, moved]) / (5 + 0.001 * flops + 0.002 * moved) - 1)
        bars.append(law.error)
    # The bar holds the noise of a single measurement, 10 %, and so what the law itself misses.
    assert 0.09 < np.mean(bars) < 0.15
    assert np.mean(np.abs(misses) < np.array(bars)) > 0.9


def test_too_few():
    times = np.ones(LEAST_POINTS - 1)
    assert fit_law(SIZES[: len(times)], None, times) is None
    # Four sizes make a power law of five numbers, for which five points are too few.
    many = np.exp(np.random.default_rng(1).random((5, 4)))
    assert fit_law(many, None, np.ones(5)) is None
    assert least_points(4, counted=False) == 7
    assert fit_law(np.exp(np.random.default_rng(1).random((7, 4))), None, np.ones(7)) is not None
    # The law of work has three numbers, whatever the sizes.
    assert least_points(4, counted=True) == LEAST_POINTS
    assert least_points(2, counted=False) == LEAST_POINTS


def test_least_squares_without_negative_weights():
    matrix = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    # Unconstrained: 2 + x; the best falling line without a negative slope is flat, at the mean.
    assert nonnegative_least_squares(matrix, np.array([3.0, 4.0, 5.0])) == pytest.approx([2, 1])
    assert nonnegative_least_squares(matrix, np.array([5.0, 4.0, 3.0])) == pytest.approx([4, 0])
    # Through the origin: (1*0 + 2*1 + 3*3) / 14.
    assert nonnegative_least_squares(matrix, np.array([0.0, 1.0, 3.0])) == pytest.approx(
        [0, 11 / 14]
    )
    assert nonnegative_least_squares(matrix, -np.ones(3)) == pytest.approx([0, 0])
