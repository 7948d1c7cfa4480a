"""Whole models against the sums of their operators."""

from __future__ import annotations

import pytest

from dnas.costs import Conditions, CostTable, Price, Whole
from dnas.errors import CostError

CONDITIONS = Conditions(
    device="cpu", device_name="Z80", rows=4, threads=1, dtype="float32", torch="2", python="3"
)


def table(*pairs: tuple[float, float]) -> CostTable:
    points = [{"predicted": predicted, "measured": measured} for predicted, measured in pairs]
    return CostTable(CONDITIONS, check={"points": points})


def test_the_factor_is_the_median_and_the_scatter_what_is_left():
    # Ratios 1.0, 1.1, 1.25, 1.5, 2.0: median 1.25; |r / 1.25 - 1| is 0.2, 0.12, 0, 0.2, 0.6.
    whole = Whole.of(table((10, 10), (10, 11), (4, 5), (2, 3), (1, 2)))
    assert whole.factor == pytest.approx(1.25)
    assert whole.scatter == pytest.approx(0.2 / 0.6745)
    assert whole.models == 5
    price = whole.price(Price(100.0, 8.0, True))
    assert price.us == pytest.approx(125.0)
    assert price.error_us == pytest.approx((10.0**2 + (125.0 * 0.2 / 0.6745) ** 2) ** 0.5)


def test_few_models_have_no_factor():
    whole = Whole.of(table((1, 2), (1, 2), (1, 2), (1, 2)))
    assert (whole.factor, whole.scatter, whole.models) == (1.0, 0.0, 4)
    assert Whole.of(CostTable(CONDITIONS)) == Whole()
    assert Whole().price(Price(3.0, 1.0, False)) == Price(3.0, 1.0, False)


@pytest.mark.parametrize("pair", [(0, 1), (1, 0), (1, -2), ("many", 1)])
def test_a_check_that_is_none_is_named(pair):
    with pytest.raises(CostError, match=r"check\.points"):
        Whole.of(table(pair))
