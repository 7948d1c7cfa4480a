"""Measuring in turns, on a clock of the test's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dnas.costs import Measurement, measure_model, measure_operators, register_operator
from dnas.costs.measuring import Turn, measure_in_turns
from dnas.data.batch import Bags
from dnas.errors import ConfigError, CostError
from tests.costs.clocks import CONDITIONS, Clock, Wait, op, waiting_kind


def measured(operators, clock, *, rounds=3, seconds=0.003):
    turns = {}
    for operator, turn in measure_operators(
        operators, CONDITIONS, rounds=rounds, min_seconds=seconds, clock=clock
    ):
        turns.setdefault(operator, []).append(turn)
    return {operator: Measurement.of(taken) for operator, taken in turns.items()}


def test_what_an_operator_takes():
    clock = Clock()
    register_operator(waiting_kind("wait", clock, lambda a, b: 10 * a + b))
    found = measured([op("wait", a=2), op("wait", a=3, b=5), op("wait", a=2, b=1)], clock)
    # The last one is the first with its default written out.
    assert list(found) == [op("wait", a=2, b=1), op("wait", a=3, b=5)]
    first, second = found.values()
    assert first.median_us == pytest.approx(21)
    assert second.median_us == pytest.approx(35)
    assert first.spread_us == pytest.approx(0, abs=1e-6)
    assert first.rounds == 3
    assert first.repeats * 21e-6 >= 0.003


def test_several_in_a_call_and_what_a_call_takes_anyway():
    clock = Clock()
    register_operator(waiting_kind("call", clock, lambda a, b: 100))
    register_operator(
        waiting_kind(
            "part",
            clock,
            lambda a, b: 100 + 8 * a,
            per_call=8,
            baseline=lambda a, b: op("call", a=1),
        )
    )
    found = measured([op("part", a=3), op("part", a=0)], clock)
    assert list(found) == [op("part", a=3, b=1), op("part", a=0, b=1)]
    assert found[op("part", a=3, b=1)].median_us == pytest.approx(3)
    # What is lost in the baseline is small, not nothing.
    assert found[op("part", a=0, b=1)].median_us == pytest.approx(0.01 * 100 / 8)


def test_drift_spreads_over_all():
    # Everything takes three times as long at the end as at the start.
    clock = Clock(lambda now: 1 + 2 * min(now / 0.2, 1))
    register_operator(waiting_kind("wait", clock, lambda a, b: a))
    operators = [op("wait", a=50, b=b) for b in range(4)]
    found = measured(operators, clock, rounds=10, seconds=0.05)
    medians = [m.median_us for m in found.values()]
    assert max(medians) / min(medians) < 1.1
    assert all(m.spread_us > 0.3 * m.median_us for m in found.values())


def test_turns_come_in_rounds_and_release_what_they_held():
    clock, alive = Clock(), []

    def case(name):
        def prepare():
            alive.append(name)
            module = Wait(clock, 5)
            return lambda: module.eval()(torch.zeros(1))

        return prepare

    turns = measure_in_turns(
        {"a": case("a"), "b": case("b")}, rounds=2, min_seconds=0.001, threads=1, clock=clock
    )
    assert [key for key, _ in turns] == ["a", "b", "a", "b"]
    assert alive == ["a", "b", "a", "b"]


def test_a_measurement_of_turns():
    turns = [Turn(10.0, 1.0, 5), Turn(14.0, 1.0, 7), Turn(11.0, 3.0, 6)]
    found = Measurement.of(turns)
    # Quartiles of 10, 11, 14 are 10.5 and 12.5; within turns the median range is 1.
    assert found == Measurement(11.0, spread_us=2.0, repeats=18, rounds=3, turns=tuple(turns))
    wide = Measurement.of([Turn(10.0, 5.0, 5)])
    assert wide.spread_us == 5.0


def test_a_whole_model():
    clock, seen = Clock(), []

    class Model(Wait):
        def forward(self, x, ids):
            seen.append((int(x[0]), ids))
            return super().forward(x)

    model = Model(clock, 40)
    model.train()
    bags = Bags(torch.tensor([1]), torch.tensor([0, 1]))
    batches = [(torch.tensor([float(n)]), bags) for n in range(3)]
    found = measure_model(model, batches, min_seconds=0.002, rounds=2, clock=clock)
    assert found.median_us == pytest.approx(40)
    assert [n for n, _ in seen[:6]] == [0, 1, 2, 0, 1, 2]
    assert isinstance(seen[0][1], Bags)
    assert model.training


def test_real_time_is_positive():
    register_operator(waiting_kind("wait", Clock(), lambda a, b: a))
    found = measured([op("linear", inputs=4, outputs=4, relu=1), op("wait", a=1)], None)
    assert all(m.median_us > 0 and m.repeats > 0 for m in found.values())
    assert measure_model(nn.Identity(), [(torch.zeros(1),)], min_seconds=0.001).median_us > 0


def test_wrong_requests():
    with pytest.raises(CostError, match="no operator kind 'nobody'"):
        list(measure_operators([op("nobody")], CONDITIONS, rounds=1, min_seconds=0.1))
    with pytest.raises(ConfigError, match="--rounds 0"):
        list(measure_in_turns({}, rounds=0, min_seconds=0.1, threads=1))
    with pytest.raises(ConfigError, match="--min_seconds 0"):
        list(measure_in_turns({}, rounds=1, min_seconds=0, threads=1))
