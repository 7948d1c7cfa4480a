"""Schedules, by hand."""

from __future__ import annotations

import math

import pytest

from dnas.core.schedules import constant, cosine, exponential, temperature


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((1.0, 0.1, 0), 1.0),
        ((1.0, 0.1, 1), 0.904837418),
        ((1.0, 0.2, 4), 0.449328964),
        ((5.0, math.log(2), 1.5), 5 / 2**1.5),
        ((1.0, 0.0, 9), 1.0),
        ((1.0, 10.0, 9), 1e-3),
        ((1.0, 10.0, 9, 0.25), 0.25),
    ],
)
def test_temperature(arguments, expected):
    assert temperature(*arguments) == pytest.approx(expected, rel=1e-8)


def test_constant_and_exponential():
    assert [constant()(e) for e in (0.0, 3.5)] == [1.0, 1.0]
    assert [exponential(0.9)(e) for e in (0, 1, 2)] == pytest.approx([1.0, 0.9, 0.81])
    assert exponential(0.25)(0.5) == pytest.approx(0.5)


def test_cosine():
    assert [cosine(4.0)(e) for e in (0, 1, 2, 4, 5)] == pytest.approx(
        [1.0, (1 + math.sqrt(0.5)) / 2, 0.5, 0.0, 0.0]
    )
    with_warmup = [cosine(6.0, 2.0)(e) for e in (0, 1, 2, 4, 6)]
    assert with_warmup == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0])
    assert cosine(1.0, 1.0)(1.0) == 0.0  # nothing after the warm-up
