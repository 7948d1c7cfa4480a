"""Cost tables: prices, refusals, the file, and what may be added to it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from dnas.core import Operator
from dnas.costs import CostTable, Measurement, Price, open_table, register_operator
from dnas.costs.measuring import Turn
from dnas.costs.spreading import spread_out
from dnas.costs.work import count_work
from dnas.errors import CostError
from tests.costs.clocks import CONDITIONS, Clock, op, waiting_kind


def took(us: float, spread: float = 0.0, rounds: int = 3) -> Measurement:
    return Measurement(us, spread, repeats=30, rounds=rounds)


def linear(inputs: int, outputs: int, relu: int = 1) -> Operator:
    return op("linear", inputs=inputs, outputs=outputs, relu=relu)


def law(operator: Operator) -> float:
    """Microseconds: 4, and 1 for each 500 FLOPs and each 1000 bytes."""
    work = count_work(operator, CONDITIONS.rows)
    assert work is not None
    return 4 + work[0] / 500 + work[1] / 1000


@pytest.fixture
def table() -> CostTable:
    found = {}
    for inputs in (4, 32, 256):
        for outputs in (8, 64, 512):
            operator = linear(inputs, outputs)
            found[operator] = took(law(operator))
    return CostTable(CONDITIONS, found, date="2026-01-01", source="t.json")


def test_measured_prices(table):
    table.add(op("linear", inputs=3, outputs=1), took(7.0, 1.349))
    # A size that the kind has a default for may be left out, or written out.
    assert table.price(op("linear", inputs=3, outputs=1)) == Price(7.0, 1.0, True)
    assert table.price(linear(3, 1, relu=0)) == Price(7.0, 1.0, True)
    table.add(linear(3, 1, relu=0), took(9.0))
    assert table.price(op("linear", inputs=3, outputs=1)).us == 9.0


def test_shapes_in_between(table):
    operator = linear(100, 100)
    price = table.price(operator)
    assert not price.measured
    assert price.us == pytest.approx(law(operator))
    assert price.error_us < 1e-6 * price.us
    for known in list(table.entries):
        table.add(known, took(table.entries[known].median_us * 1.1))
    assert table.price(operator).us == pytest.approx(1.1 * law(operator))  # fitted anew


def test_shapes_outside_are_refused(table):
    with pytest.raises(CostError) as error:
        table.price(linear(257, 100))
    assert "linear(inputs=257, outputs=100, relu=1) was not measured in t.json" in str(error.value)
    assert "inputs 257 is outside of 4..256" in str(error.value)
    assert "--device cpu --rows 4 --threads 1 --output t.json" in str(error.value)
    with pytest.raises(CostError, match=r"outputs 7 is outside of 8\.\.512"):
        table.price(linear(100, 7))
    # No size 0, and no price 0.
    with pytest.raises(CostError, match=r"inputs 0 is outside of 4\.\.256"):
        table.price(linear(0, 8))


def test_what_cannot_be_interpolated_is_refused(table):
    with pytest.raises(CostError, match=r"0 measured ones with the same relu=0 are too few"):
        table.price(linear(32, 100, relu=0))
    for outputs in (1, 2, 3, 4):
        table.add(linear(32, outputs, relu=0), took(1.0))
    with pytest.raises(CostError, match=r"4 measured ones with the same relu=0 are too few"):
        table.price(linear(31, 2, relu=0))
    with pytest.raises(CostError, match="no operator kind 'nobody' is registered"):
        table.price(op("nobody", a=1))
    register_operator(waiting_kind("rigid", Clock(), lambda a, b: a))
    with pytest.raises(CostError, match="operators of kind rigid are not interpolated"):
        table.price(op("rigid", a=1))
    with pytest.raises(CostError, match="needs the size 'outputs'"):
        table.price(op("linear", inputs=32))


def test_an_unknown_kind_that_was_measured_has_its_price():
    table = CostTable(CONDITIONS, {op("theirs", a=1): took(3.0)})
    assert table.price(op("theirs", a=1)).us == 3.0


def test_totals(table):
    table.add(linear(3, 3), took(10.0, 1.349))
    table.add(linear(2, 2), took(20.0, 2 * 1.349))
    total = table.total({linear(3, 3): 3, linear(2, 2): 2, linear(9999, 1): 0})
    # The same error three times over, and independent ones between operators.
    assert total == Price(70.0, math.hypot(3 * 1.0, 2 * 2.0), True)
    assert not table.total({linear(3, 3): 1, linear(100, 100): 1}).measured


def test_the_file(table, tmp_path):
    path = tmp_path / "t.json"
    table.check = {"architectures": 0, "points": []}
    table.save(path)
    value = json.loads(path.read_text())
    assert value["format"] == "dnas.cost_table/1"
    assert value["unit"] == "us"
    assert value["entries"][0] == {
        "kind": "linear",
        "sizes": {"inputs": 4, "outputs": 8, "relu": 1},
        "median": law(linear(4, 8)),
        "spread": 0.0,
        "repeats": 30,
        "rounds": 3,
    }
    again = CostTable.load(path)
    assert again.to_json() == table.to_json()
    assert again.price(linear(100, 100)) == table.price(linear(100, 100))
    assert again.source == str(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.update(format="dnas.cost_table/2"), r"format: 'dnas.cost_table/2', but this"),
        (lambda v: v.update(unit="ms"), "unit: 'ms'"),
        (lambda v: v.update(entries={}), "entries: expected a list"),
        (lambda v: v["entries"].append(v["entries"][0]), r"entries\[9\]: linear.* stands there tw"),
        (lambda v: v["entries"].append(3), r"entries\[9\]: expected an object, but got 3"),
        (lambda v: v["entries"][1].update(kind=""), r"entries\[1\].kind: '' is not a name"),
        (lambda v: v["entries"][1].update(sizes=[]), r"entries\[1\].sizes: expected an object"),
        (lambda v: v["entries"][1]["sizes"].update(inputs="4"), r"sizes.inputs: '4' is not a num"),
        (lambda v: v["entries"][1]["sizes"].update(width=4), "has no size 'width'"),
        (lambda v: v["entries"][1].update(median=0), r"entries\[1\].median: 0 us"),
        (lambda v: v["entries"][1].update(median=-1.5), r"median: -1.5 is not a number of 0"),
        (lambda v: v["entries"][1].update(median=None), r"median: None is not a number"),
        (lambda v: v["entries"][1].update(rounds=0.5), r"rounds: 0.5 is not a whole number of 1"),
        (lambda v: v["entries"][1].update(turns=[[1, 0, 9]]), r"\[1\].turns: expected a list of 3"),
        (
            lambda v: v["entries"][1].update(turns=[[1, 0, 9]] * 2 + [[0, 0, 9]]),
            r"turns\[2\]: \[0, ",
        ),
        (lambda v: v["entries"][1].update(turns=[[1, 0, 0.5]] * 3), r"turns\[0\]: .* is not \[med"),
        (lambda v: v.pop("conditions"), "conditions: expected an object"),
        (lambda v: v["conditions"].update(rows="4"), r"conditions.rows: '4' is not a int"),
        (lambda v: v["conditions"].update(rows=0), r"--rows must be at least 1"),
        (lambda v: v["conditions"].update(gpu="x"), r"unknown fields \['gpu'\]"),
        (lambda v: v.update(rounds=-1), "rounds: -1 is not a whole number of 0 or more"),
        (lambda v: v.update(rounds="5"), "rounds: '5' is not a whole number"),
        (lambda v: v.update(check=3), "check: expected an object or null"),
    ],
)
def test_damaged_files_are_named(table, tmp_path, change, message):
    value = table.to_json()
    change(value)
    path = tmp_path / "t.json"
    path.write_text(json.dumps(value))
    with pytest.raises(CostError, match=message) as error:
        CostTable.load(path)
    assert str(path) in str(error.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(CostError, match="there is no such file"):
        CostTable.load(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("{")
    with pytest.raises(CostError, match="not a JSON file"):
        CostTable.load(tmp_path / "text.json")


def test_what_is_measured_already(table):
    assert table.missing([linear(4, 8), linear(5, 8), linear(5, 8)]) == [linear(5, 8)]
    assert table.missing([linear(4, 8)], rounds=3) == []
    assert table.missing([linear(4, 8)], rounds=4) == [linear(4, 8)]


def test_turns_are_kept_and_rounds_are_never_fewer(table, tmp_path):
    turns = [Turn(10.0, 1.0, 5), Turn(14.0, 1.0, 7)]
    operator = linear(3, 3)
    assert table.turns_kept(operator) == ()
    table.add(operator, Measurement.of(turns))
    table.save(tmp_path / "t.json")
    again = CostTable.load(tmp_path / "t.json")
    assert again.turns_kept(operator) == tuple(turns)
    assert again.entries == table.entries
    again.add(operator, took(99.0, rounds=1))
    assert again.price(operator).us == 12.0
    again.add(operator, took(99.0, rounds=2))
    assert again.price(operator).us == 99.0


def test_what_was_left_unfinished(table, tmp_path):
    table.check, table.rounds = {"points": []}, 3
    assert table.doubts() == []
    table.add(linear(3, 3), took(1.0, rounds=2))
    table.save(tmp_path / "t.json")
    again = CostTable.load(tmp_path / "t.json")
    (doubt,) = again.doubts()
    assert "1 of 10 operators have fewer than the 3 rounds" in doubt
    assert doubt.endswith("linear(inputs=3, outputs=3, relu=1) has 2")
    again.check = None
    assert again.doubts() == [doubt, "no whole models were measured beside them (--check)"]


def test_other_conditions_are_refused(table, tmp_path):
    path = tmp_path / "t.json"
    assert open_table(path, CONDITIONS).entries == {}
    table.save(path)
    assert len(open_table(path, CONDITIONS).entries) == 9
    other = replace(CONDITIONS, rows=8, torch="2.1")
    with pytest.raises(CostError) as error:
        open_table(path, other)
    assert "rows 4 there, 8 here; torch 2.0 there, 2.1 here" in str(error.value)
    assert "--remeasure" in str(error.value)
    assert open_table(path, other, remeasure=True).entries == {}


def test_a_subset_spans_the_whole():
    all_of_them = [linear(i, o) for i in range(1, 8) for o in range(1, 8)]
    all_of_them += [linear(i, 1, relu=0) for i in (5, 7)]
    taken = spread_out(all_of_them, 20)
    assert len(taken) <= 20
    assert {linear(5, 1, relu=0), linear(7, 1, relu=0)} <= set(taken)
    large = [o for o in taken if o.size("relu")]
    for name in ("inputs", "outputs"):
        sizes = [o.size(name) for o in large]
        assert (min(sizes), max(sizes)) == (1, 7)
    assert {linear(1, 1), linear(7, 7), linear(1, 7), linear(7, 1)} <= set(large)
    table = CostTable(CONDITIONS, {o: took(law(o)) for o in taken})
    for operator in all_of_them:
        assert table.price(operator).us == pytest.approx(law(operator))
    assert spread_out(all_of_them, 51) == all_of_them
    with pytest.raises(CostError, match=r"--max_operators 3: 51 operators .* (\d+) of them must"):
        spread_out(all_of_them, 3)
