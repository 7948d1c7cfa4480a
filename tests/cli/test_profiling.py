"""The check of a table: whole models that take what their operators say, or half as much again."""

from __future__ import annotations

import pytest
import torch

from dnas.cli import profiling
from dnas.cli.profiling import (
    Effort,
    Models,
    ProcessorShare,
    check_table,
    check_text,
    enter_measured,
    measure_into,
)
from dnas.core import Operator, OperatorCounts, Sample
from dnas.costs import CostTable, Measurement, register_operator
from dnas.costs.measuring import Turn
from tests.costs.clocks import CONDITIONS, Clock, op, waiting_kind
from tests.costs.conftest import _own_kinds  # noqa: F401  (kinds are gone after the test)
from tests.toys import Scales


class Priced(Scales):
    """Each decision runs one operator of the chosen size."""

    def operator_terms(self, sample: Sample) -> OperatorCounts:
        counts = sample[self.choice].flatten(1)
        sizes = self.factors.flatten().tolist()
        return OperatorCounts(tuple(Operator.of("scale", size=size) for size in sizes), counts)


@pytest.fixture
def table():
    prices = {1: 10.0, 2: 20.0, 4: 40.0}
    entries = {
        Operator.of("scale", size=size): Measurement(us, 1.349, repeats=10, rounds=2)
        for size, us in prices.items()
    }
    return CostTable(CONDITIONS, entries, date="2026-01-01")


def test_operators_get_the_rounds_that_they_lack():
    clock = Clock()
    register_operator(waiting_kind("wait", clock, lambda a, b: 10 * a))
    old, new, unkept = (op("wait", a=a, b=1) for a in (1, 2, 3))
    turns = [Turn(50.0, 0.0, 5), Turn(60.0, 0.0, 5)]
    table = CostTable(CONDITIONS, {old: Measurement.of(turns), unkept: Measurement(7.0, 0.0, 9, 2)})
    rounds = []

    def stop_after_the_first():
        rounds.append({o: m.rounds for o, m in table.entries.items()})
        if len(rounds) == 1:
            raise KeyboardInterrupt

    effort = Effort(rounds=3, min_seconds=0.003)

    def go():
        measure_into(
            table, [old, op("wait", a=2), unkept], Models(), effort, clock=clock,
            after_round=stop_after_the_first,
        )  # fmt: skip

    with pytest.raises(KeyboardInterrupt):
        go()
    # The third round of one, the first of another; one round does not replace two.
    assert rounds[0] == {old: 3, new: 1, unkept: 2}
    assert table.price(old).us == pytest.approx(50.0)  # the median of 50, 60 and 10
    assert table.price(unkept).us == 7.0
    go()
    assert {o: m.rounds for o, m in table.entries.items()} == {old: 3, new: 3, unkept: 3}
    assert table.price(unkept).us == pytest.approx(30.0)
    assert table.turns_kept(old)[:2] == tuple(turns)


def measured(net, table, factor, spread=0.0, all_sizes=((1, 1), (1, 4), (4, 4))):
    """The check of models that take ``factor`` times their sums."""
    models = Models()
    for sizes in all_sizes:
        architecture = net.validate({"scale/d0": sizes[0], "scale/d1": sizes[1]})
        models.add(architecture, torch.nn.Identity, [()], table)
        models.turns[architecture.id].append(Turn(10.0 * sum(sizes) * factor, spread, 5))
    enter_measured(table, "scales", net, models)
    return check_table(table, net)


def test_sums_of_prices(table):
    net = Priced(decisions=2)
    price = table.total(net.runs(net.validate({"scale/d0": 1, "scale/d1": 4})))
    assert (price.us, price.error_us) == (50.0, pytest.approx(2**0.5))
    # The same operator twice has the same error twice.
    twice = table.total(net.runs(net.validate({"scale/d0": 4, "scale/d1": 4})))
    assert (twice.us, twice.error_us) == (80.0, pytest.approx(2.0))


def test_wholes_that_take_half_as_much_again(table):
    net = Priced(decisions=2)
    check = measured(net, table, 1.5)
    assert check["architectures"] == 3
    assert check["rank_correlation"] == 1.0
    assert check["measured_to_sum"] == pytest.approx(1.5)
    assert check["whole_factor"] == 1.0
    assert check["median_relative_error"] == pytest.approx(1 / 3)
    assert check["predicted_range"] == pytest.approx(3.0)
    assert sorted(p["measured"] for p in check["points"]) == [30.0, 75.0, 120.0]
    text = check_text(check)
    assert "1.000, measured / sum of operators 1.500 in the median, median error 33.3 %" in text
    assert "no factor of fewer than 5 models" in text
    assert "too much to tell" not in text


def test_each_model_is_predicted_by_the_factor_of_the_others(table):
    net = Priced(decisions=2)
    sizes = ((1, 1), (1, 2), (1, 4), (2, 4), (4, 4))
    check = measured(net, table, 1.5, all_sizes=sizes)
    assert check["whole_factor"] == pytest.approx(1.5)
    assert check["median_relative_error"] == pytest.approx(0.0)
    # One that takes twice its sum, 20 us: the others' factor says 30.
    check = measured(net, table, 2.0, all_sizes=((1, 1),))
    off = max(check["points"], key=lambda p: abs(p["predicted"] / p["measured"] - 1))
    assert (off["predicted"], off["measured"]) == (pytest.approx(30.0), pytest.approx(40.0))
    assert "each predicted by the factor of the others" in check_text(check)


def test_what_scatters_more_than_it_differs_is_told(table):
    net = Priced(decisions=2)
    alone = measured(net, table, 1.0, all_sizes=((1, 1),))
    assert alone["rank_correlation"] is None
    assert "undefined" in check_text(alone)
    check = measured(net, table, 1.0, spread=400.0)
    assert "differ by 300.0 % in their sums" in check_text(check)


def test_a_share_is_of_each_thread(monkeypatch):
    now = {"perf_counter": 10.0, "process_time": 3.0}
    for name in now:
        monkeypatch.setattr(profiling.time, name, lambda name=name: now[name])
    share = ProcessorShare()
    now.update(perf_counter=20.0, process_time=11.0)
    assert share.so_far(1) == pytest.approx(0.8)
    assert share.so_far(4) == pytest.approx(0.2)
