"""Whole models against the sums of their operators."""

from __future__ import annotations

import pytest

from dnas.core import Choice, Operator, SuperNet
from dnas.costs import (
    Conditions,
    CostTable,
    Measurement,
    Price,
    Whole,
    enter_models,
    space_key,
    whole_models,
)
from dnas.costs.whole import factors_of_others
from dnas.errors import CostError
from tests.costs.test_cost_table import linear, took

CONDITIONS = Conditions(
    device="cpu", device_name="Z80", rows=4, threads=1, dtype="float32", torch="2", python="3"
)
SMALL, LARGE = linear(1, 1), linear(2, 2)


def table() -> CostTable:
    return CostTable(CONDITIONS, {SMALL: took(1.0), LARGE: took(10.0)})


def measured(us: float, rounds: int = 3) -> Measurement:
    return Measurement(us, 0.5, repeats=9, rounds=rounds)


def with_models(*pairs: tuple[dict[Operator, float], float]) -> CostTable:
    found = table()
    models = [(f"m{i}", counts, measured(us)) for i, (counts, us) in enumerate(pairs)]
    enter_models(found, "toy", "Toy", models)
    return found


FIVE = (
    ({LARGE: 1}, 10.0),
    ({LARGE: 1}, 11.0),
    ({SMALL: 4}, 5.0),
    ({SMALL: 2, LARGE: 0}, 3.0),
    ({SMALL: 1}, 2.0),
)


def test_the_factor_is_the_median_and_the_scatter_what_other_models_leave():
    # Ratios 1.0, 1.1, 1.25, 1.5, 2.0: median 1.25.
    models = whole_models(with_models(*FIVE), "toy")
    whole = Whole.of(models)
    assert whole.factor == pytest.approx(1.25)
    assert whole.models == 5
    # Medians of the other four, and |ratio / median - 1|: 0.2727, 0.2, 0.0385, 0.2766, 0.7021.
    assert factors_of_others(models) == pytest.approx([1.375, 1.375, 1.3, 1.175, 1.175])
    assert whole.scatter == pytest.approx((1 - 1 / 1.375) / 0.6745)
    price = whole.price(Price(100.0, 8.0, True))
    assert price.us == pytest.approx(125.0)
    assert price.error_us == pytest.approx((10.0**2 + (125.0 * whole.scatter) ** 2) ** 0.5)


def test_few_models_have_no_factor():
    models = whole_models(with_models(*FIVE[:4]), "toy")
    whole = Whole.of(models)
    assert (whole.factor, whole.scatter, whole.models) == (1.0, 0.0, 4)
    assert factors_of_others(models) == [1.0] * 4
    assert Whole.of(whole_models(table(), "toy")) == Whole()
    assert Whole().price(Price(3.0, 1.0, False)) == Price(3.0, 1.0, False)


def test_sums_follow_the_prices_that_the_table_has_now():
    found = with_models(*FIVE)
    found.add(SMALL, took(2.0, rounds=4))
    found.add(LARGE, took(20.0, rounds=4))
    assert [model.summed.us for model in whole_models(found, "toy")] == [20, 20, 8, 4, 2]
    assert Whole.of(whole_models(found, "toy")).factor == pytest.approx(1.25 / 2)


def test_spaces_have_models_of_their_own_and_files_keep_them(tmp_path):
    found = with_models(*FIVE)
    enter_models(found, "other", "Other", [("x", {LARGE: 1}, measured(90.0))])
    found.save(tmp_path / "t.json")
    again = CostTable.load(tmp_path / "t.json")
    assert again.to_json() == found.to_json()
    assert whole_models(again, "toy") == whole_models(found, "toy")
    assert [model.measured_us for model in whole_models(again, "other")] == [90.0]
    assert again.checks["other"]["space"] == "Other"


def test_no_model_replaces_one_that_had_more_rounds():
    found = with_models(*FIVE)
    enter_models(found, "toy", "Toy", [("m0", {LARGE: 1}, measured(99.0, rounds=2))])
    assert whole_models(found, "toy")[0].measured_us == 10.0
    enter_models(found, "toy", "Toy", [("m0", {LARGE: 1}, measured(99.0, rounds=3))])
    assert [m.measured_us for m in whole_models(found, "toy")] == [99.0, 11.0, 5.0, 3.0, 2.0]


@pytest.mark.parametrize(
    "change",
    [
        {"measured": 0},
        {"measured": "many"},
        {"operators": None},
        {"operators": []},
        {"operators": [{"kind": "linear", "sizes": {"inputs": "x"}, "count": 1}]},
    ],
)
def test_models_that_are_none_are_named(change):
    found = with_models(*FIVE)
    found.checks["toy"]["points"][2].update(change)
    with pytest.raises(CostError, match=r"checks\.toy\.points"):
        whole_models(found, "toy")


class Widths(SuperNet):
    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.width = Choice("width", {"layer": widths})

    def option_operators(self):
        widths = self.width.options[0]
        return {"width": [[(linear(8, width),) for width in widths]]}

    def fixed_operators(self):
        return ()

    def forward(self, *inputs, sample):
        raise NotImplementedError

    def build(self, architecture, *, inherit_weights=False):
        raise NotImplementedError


def test_a_space_is_known_by_its_decisions_and_operators():
    assert space_key(Widths(2, 4)) == space_key(Widths(2, 4))
    assert space_key(Widths(2, 4)) != space_key(Widths(2, 4, 8))
    assert space_key(Widths(2, 4)) != space_key(Widths(4, 2))
