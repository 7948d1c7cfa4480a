"""dnas profile: a small space from nothing to a table with a check; no assertion on real times."""

from __future__ import annotations

import json
import time

import pytest
import torch

from dnas.cli import main as console
from dnas.cli import profiling
from dnas.costs import CostTable
from dnas.data import DataSpec
from supernets import TOP_BOTTOM_MLPS
from supernets.config import DLRMSpaceConfig
from tests.toys import DATA_FLAGS

SPACE_FLAGS = (
    "--embedding_dimension=4", "--mlp_size_options", "4", "6", "8", "12",
    "--mlp_bottom_layers=2", "--mlp_top_layers=2",
)  # fmt: skip
QUICK = ("--rows=16", "--min_seconds=0.0004", "--rounds=2")


@pytest.fixture
def profile(tmp_path, data_cache):
    def run(*flags: str) -> int:
        words = [*DATA_FLAGS, f"--data_cache={data_cache}", *SPACE_FLAGS, *QUICK]
        out = f"--output={tmp_path / 'table.json'}"
        return console.main(["profile", "top_bottom_mlps", *words, out, *flags])

    return run


@pytest.fixture
def operators():
    spec = DataSpec(tuple(f"I{i}" for i in range(13)), ("C1", "C2", "C3"), (40, 40, 40))
    config = DLRMSpaceConfig(
        embedding_dimension=4, mlp_size_options=(4, 6, 8, 12), mlp_bottom_layers=2, mlp_top_layers=2
    )
    return TOP_BOTTOM_MLPS.make_supernet(config, spec).operators()


def test_a_table_with_a_check(profile, tmp_path, operators, capsys):
    assert profile("--check=3") == 0
    table = CostTable.load(tmp_path / "table.json")
    assert table.missing(operators, rounds=2) == []
    assert all(table.price(operator).us > 0 for operator in operators)
    assert table.conditions.rows == 16
    assert table.check is not None
    assert table.check["architectures"] == 3
    assert all(point["predicted"] > 0 for point in table.check["points"])
    text = capsys.readouterr().out
    assert f"{len(operators)} operators on" in text
    assert "rank correlation" in text


def test_time_on_the_processor(profile, tmp_path):
    assert profile("--check=1", "--clock=processor") == 0
    table = CostTable.load(tmp_path / "table.json")
    assert table.conditions.clock == "processor"
    assert "--clock processor" in table.conditions.flags()
    assert table.conditions.timer() is time.process_time


def test_what_is_there_is_not_measured_again(profile, tmp_path, capsys):
    assert profile("--check=0") == 0
    first = json.loads((tmp_path / "table.json").read_text())
    assert profile("--check=0") == 0
    assert json.loads((tmp_path / "table.json").read_text())["entries"] == first["entries"]
    assert profile("--check=0", "--rounds=3") == 0
    again = json.loads((tmp_path / "table.json").read_text())
    assert {entry["rounds"] for entry in again["entries"]} == {3}
    assert profile("--check=0", "--rows=8") == 2
    assert "rows 16 there, 8 here" in capsys.readouterr().err
    assert profile("--check=0", "--rows=8", "--remeasure") == 0
    assert CostTable.load(tmp_path / "table.json").conditions.rows == 8


def test_too_many_are_interpolated(profile, tmp_path, operators, capsys):
    linears = [o for o in operators if o.kind == "linear"]
    most = len(operators) - 1
    assert profile("--check=2", f"--max_operators={most}") == 0
    table = CostTable.load(tmp_path / "table.json")
    assert len(table.entries) == most
    (left,) = table.missing(operators)
    assert left in linears
    assert not table.price(left).measured
    assert "linear: interpolated by a " in capsys.readouterr().out
    assert profile("--max_operators=2") == 2
    assert "--max_operators 2: " in capsys.readouterr().err


def test_an_interruption_keeps_what_was_measured(profile, tmp_path, operators, capsys, monkeypatch):
    real, rounds = profiling.measure_in_turns, []

    def interrupted(*args, **options):
        rounds.append(None)
        if len(rounds) == 2:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(profiling, "measure_in_turns", interrupted)
    assert profile("--check=1", "--rounds=4") == 130
    assert "the same command goes on" in capsys.readouterr().err
    table = CostTable.load(tmp_path / "table.json")
    assert {entry.rounds for entry in table.entries.values()} == {2}
    assert len(table.entries) == len(operators)
    assert table.check is None
    assert "fewer than the 4 rounds" in table.doubts()[0]
    first = {operator: table.turns_kept(operator) for operator in operators}
    rounds.pop()  # interrupted in the next round again
    assert profile("--check=1", "--rounds=4") == 130
    capsys.readouterr()
    table = CostTable.load(tmp_path / "table.json")
    assert {entry.rounds for entry in table.entries.values()} == {3}
    assert profile("--check=1", "--rounds=4") == 0
    table = CostTable.load(tmp_path / "table.json")
    assert table.missing(operators, rounds=4) == []
    assert table.doubts() == []
    # What had been measured is still there, and only what lacked was added.
    assert all(table.turns_kept(o)[:2] == first[o] for o in operators)
    assert {entry.rounds for entry in table.entries.values()} == {4}


def test_a_busy_machine_is_told(profile, caplog, monkeypatch):
    monkeypatch.setattr(profiling.time, "process_time", lambda: 0.0)
    assert profile("--check=0") == 0
    assert "this process had a processor for 0 % of the time only" in caplog.text


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu(profile, tmp_path, operators):
    assert profile("--check=2", "--device=cuda") == 0
    table = CostTable.load(tmp_path / "table.json")
    assert table.conditions.device_name == torch.cuda.get_device_name()
    assert table.missing(operators, rounds=2) == []


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--device=cuda",), "--device cuda: torch finds no GPU"),
        (("--clock=processor", "--threads=2"), "--clock processor: of one thread on a CPU only"),
        (("--threads=0",), "--threads must be at least 1"),
        (("--min_seconds=0",), "--min_seconds must be positive"),
        (("--check=-1",), "--check must be at least 0"),
        (("--rows=100000",), "--rows"),
    ],
)
def test_wrong_flags(profile, capsys, monkeypatch, flags, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert profile(*flags) == 2
    assert message in capsys.readouterr().err
