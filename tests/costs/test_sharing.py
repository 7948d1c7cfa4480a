"""Several programs that measure into one file."""

from __future__ import annotations

import threading

import pytest

from dnas.costs import CostTable, enter_models, save_shared
from dnas.errors import CostError
from tests.costs.clocks import CONDITIONS
from tests.costs.test_cost_table import linear, took


def with_entry(inputs: int, us: float = 1.0, rounds: int = 3) -> CostTable:
    return CostTable(CONDITIONS, {linear(inputs, 1): took(us, rounds=rounds)})


def test_what_others_wrote_meanwhile_stays(tmp_path):
    path = tmp_path / "new" / "t.json"
    mine, theirs = with_entry(1), with_entry(2)
    enter_models(
        mine,
        "a",
        "A",
        [
            ("m", {linear(1, 1): 1}, took(1.5)),
        ],
    )
    enter_models(theirs, "a", "A", [("n", {linear(1, 1): 1}, took(1.7))])
    enter_models(theirs, "b", "B", [("m", {linear(2, 1): 1}, took(1.9))])
    save_shared(mine, path)
    save_shared(theirs, path)
    found = CostTable.load(path)
    assert set(found.entries) == {linear(1, 1), linear(2, 1)}
    assert found.to_json() == theirs.to_json()
    names = {key: [p["architecture"] for p in c["points"]] for key, c in found.checks.items()}
    assert names == {"a": ["m", "n"], "b": ["m"]}


def test_more_rounds_win(tmp_path):
    path = tmp_path / "t.json"
    save_shared(with_entry(1, 5.0, rounds=4), path)
    save_shared(with_entry(1, 7.0, rounds=3), path)
    assert CostTable.load(path).price(linear(1, 1)).us == 5.0
    save_shared(with_entry(1, 7.0, rounds=4), path)
    assert CostTable.load(path).price(linear(1, 1)).us == 7.0


def test_many_at_once_lose_nothing(tmp_path):
    path = tmp_path / "t.json"
    threads = [
        threading.Thread(target=save_shared, args=(with_entry(i), path)) for i in range(1, 9)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(CostTable.load(path).entries) == {linear(i, 1) for i in range(1, 9)}


def test_a_file_of_other_conditions_is_not_added_to(tmp_path):
    path = tmp_path / "t.json"
    save_shared(with_entry(1), path)
    other = CostTable(CONDITIONS.__class__(**{**CONDITIONS.to_json(), "rows": 77}))
    with pytest.raises(CostError, match="rows 4 there, 77 here"):
        save_shared(other, path)
