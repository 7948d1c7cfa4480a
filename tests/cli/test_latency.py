"""Latency as a cost of searches, and predicted against measured after training."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dnas.cli import measured_latency, search, train
from dnas.core import ArchitectureRecord, Operator, SuperNet
from dnas.costs import Conditions, CostTable, Measurement, enter_models, space_key
from dnas.data import DataConfig, prepare
from dnas.spaces import LatencyTable
from supernets.config import DLRMSpaceConfig
from supernets.registry import TOP_BOTTOM_MLPS

SIZES = ("--mlp_size_options", "8", "16", "--mlp_bottom_layers=2", "--mlp_top_layers=3")
CONFIG = DLRMSpaceConfig(
    embedding_dimension=4, mlp_size_options=(8, 16), mlp_bottom_layers=2, mlp_top_layers=3
)
ROWS = 8


def made_up(operator: Operator) -> float:
    """Microseconds: a linear takes as many as it has weights, anything else 5."""
    if operator.kind != "linear":
        return 5.0
    return float(operator.size("inputs") * operator.size("outputs"))


@pytest.fixture
def super_net(data_cache: Path) -> SuperNet:
    """That of the searches in this file."""
    data = DataConfig(
        data_set="synthetic",
        synthetic_rows=400,
        synthetic_features=3,
        synthetic_values=40,
        data_cache=str(data_cache),
    )
    return TOP_BOTTOM_MLPS.make_supernet(CONFIG, prepare(data).spec)


def write_table(path: Path, super_net: SuperNet, leave_out: str = "", **conditions: Any) -> Path:
    given = {"rows": ROWS, "threads": 1, **conditions}
    table = CostTable(replace(Conditions.here("cpu", rows=1, threads=1), **given))
    for operator in super_net.operators():
        if operator.kind != leave_out:
            table.add(operator, Measurement(made_up(operator), 1.0, 10, 2))
    table.save(path)
    return path


def flags(scripts: Any, *more: str, name: str = "s") -> list[str]:
    common = (*SIZES, "--num_random_archs=0")
    return scripts.search_flags(*common, *more, name=name, space="top_bottom_mlps")


def records(folder: Path) -> list[ArchitectureRecord]:
    return [ArchitectureRecord.load(path) for path in sorted(folder.glob("architectures/*.json"))]


def test_search_and_training_with_a_cost_table(scripts, super_net, tmp_path, caplog):
    table = write_table(tmp_path / "table.json", super_net)
    super_net.price("latency", made_up)
    cheapest = min(super_net.cost(super_net.random_architecture())["latency"] for _ in range(200))
    target = 1.1 * cheapest
    words = (f"--cost_target=latency={target}", "--architecture_sampling=1:30")
    assert search.main(flags(scripts, f"--cost_table={table}", *words)) == 0
    unfinished = f"the cost table {table} is not finished: 0 whole models of this space"
    assert caplog.text.count(unfinished) == 1
    caplog.clear()
    found = records(tmp_path / "s")
    drawn = [r.costs["latency"] for r in found if r.provenance["kind"] == "draw"]
    assert sum(drawn) / len(drawn) == pytest.approx(target, rel=0.1)
    for record in found:
        assert record.costs["latency"] == pytest.approx(
            super_net.cost(record.architecture)["latency"]
        )
        assert record.provenance["cost_table"]["rows"] == ROWS

    assert train.main(scripts.train_flags(f"--cost_table={table}")) == 0
    assert caplog.text.count(unfinished) == 1
    result = scripts.result("t")
    trained = found[0]
    latency = result["latency"]
    assert latency["predicted"] == pytest.approx(trained.costs["latency"])
    assert latency["error"] > 0
    assert latency["measured"] > 0
    assert latency["spread"] >= 0
    assert latency["processor_share"] > 0
    assert (latency["rows"], latency["threads"]) == (ROWS, 1)
    assert result["costs"]["latency"] == latency["predicted"]
    assert result["costs"]["measured_latency"] == latency["measured"]


def test_evolution_within_a_latency(scripts, super_net, tmp_path):
    table = write_table(tmp_path / "table.json", super_net)
    super_net.price("latency", made_up)
    costs = sorted(super_net.cost(super_net.random_architecture())["latency"] for _ in range(50))
    limit = costs[25]
    words = [
        *flags(scripts, f"--cost_table={table}", f"--cost_limit=latency={limit}"),
        "--search_algorithm=evolution",
    ]
    own = ("--weights_batch_size", "--arch_params", "--n_total", "--architecture_s", "--weights_lr")
    words = [word for word in words if not word.startswith(own)]
    small = ("--population=6", "--sample_size=3", "--children=2", "--n_iterations=2", "--top_k=3")
    assert search.main([*words, "--batch_size=64", *small]) == 0
    found = records(tmp_path / "s")
    assert found
    assert all(record.costs["latency"] <= limit for record in found)


def test_on_another_machine_latency_is_predicted_and_not_measured(scripts, super_net, tmp_path):
    table = write_table(tmp_path / "table.json", super_net, device_name="Z80")
    assert search.main(flags(scripts, f"--cost_table={table}", "--cost=latency")) == 0
    assert train.main(scripts.train_flags(f"--cost_table={table}")) == 0
    result = scripts.result("t")
    assert result["latency"]["measured"] is None
    assert result["latency"]["why_not"].startswith("device_name Z80 in the table, ")
    assert "measured_latency" not in result["costs"]


def test_a_table_of_more_threads_than_there_are_is_not_measured(
    scripts, super_net, tmp_path, monkeypatch
):
    table = write_table(tmp_path / "table.json", super_net, threads=2)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert search.main(flags(scripts, f"--cost_table={table}")) == 0
    assert train.main(scripts.train_flags(f"--cost_table={table}")) == 0
    found = scripts.result("t")["latency"]
    assert (found["measured"], found["threads"]) == (None, 2)
    assert found["why_not"] == "threads 2 in the table, 1 processors here"


def test_too_many_rows_are_told_before_training(scripts, super_net, tmp_path, monkeypatch, capsys):
    table = write_table(tmp_path / "table.json", super_net, rows=100_000)
    assert search.main(flags(scripts, f"--cost_table={table}")) == 0
    monkeypatch.setattr(train.StandaloneTrainer, "train", lambda self: pytest.fail("trained"))
    assert train.main(scripts.train_flags(f"--cost_table={table}")) == 2
    assert "rows of --cost_table" in capsys.readouterr().err


def test_a_measurement_that_fails_does_not_lose_the_training(
    scripts, super_net, tmp_path, monkeypatch
):
    def fail(*_: Any) -> None:
        raise RuntimeError("out of memory")

    table = write_table(tmp_path / "table.json", super_net)
    assert search.main(flags(scripts, f"--cost_table={table}")) == 0
    monkeypatch.setattr(measured_latency, "_measure", fail)
    assert train.main(scripts.train_flags(f"--cost_table={table}")) == 0
    result = scripts.result("t")
    assert result["latency"]["why_not"] == "RuntimeError: out of memory"
    assert result["validation"]


def test_other_spaces_in_the_table_change_nothing(super_net, tmp_path):
    path = write_table(tmp_path / "table.json", super_net)
    table = CostTable.load(path)
    runs = [super_net.runs(super_net.random_architecture()) for _ in range(5)]
    models = [
        (str(i), counts, Measurement(1.5 * table.total(counts).us, 1.0, 9, 3))
        for i, counts in enumerate(runs)
    ]
    enter_models(table, space_key(super_net), "mlps", models)
    table.save(path)
    before = LatencyTable.load(path).of(super_net)
    assert before.whole.factor == pytest.approx(1.5)
    other = Operator.of("linear", inputs=5, outputs=3)
    table.add(other, Measurement(7.0, 1.0, 10, 2))
    enter_models(table, "other", "other", [(str(i), {other: 1}, models[0][2]) for i in range(9)])
    table.save(path)
    after = LatencyTable.load(path).of(super_net)
    assert (after.hash, after.whole) == (before.hash, before.whole)
    assert after.describe()["whole_factor"] == pytest.approx(1.5)
    # A price of its own that changes is another latency.
    linear = next(o for o in super_net.operators() if o.kind == "linear")
    table.add(linear, Measurement(1.0 + made_up(linear), 1.0, 10, 3))
    table.save(path)
    assert LatencyTable.load(path).of(super_net).hash != before.hash


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--cost=latency"], "latency needs --cost_table FILE"),
        (["--cost_target=latency=9"], "latency needs --cost_table FILE"),
        (["--cost_table=no.json"], "--cost_table: no.json: "),
    ],
)
def test_latency_without_a_table(scripts, more, message, capsys):
    assert search.main(flags(scripts, *more)) == 2
    assert message in capsys.readouterr().err


def test_a_missing_operator_is_named(scripts, super_net, tmp_path, capsys):
    table = write_table(tmp_path / "table.json", super_net, leave_out="dot_interaction")
    assert search.main(flags(scripts, f"--cost_table={table}")) == 2
    said = capsys.readouterr().err
    assert "--cost_table: dot_interaction(diagonal=0, dim=4, vectors=4) was not measured in" in said
    assert "dnas profile" in said


def test_a_search_is_not_resumed_with_another_table(scripts, super_net, tmp_path, capsys):
    table = write_table(tmp_path / "table.json", super_net)
    words = flags(scripts, f"--cost_table={table}", "--cost_target=latency=500")
    assert search.main(words) == 0
    write_table(tmp_path / "table.json", super_net, rows=2 * ROWS)
    assert search.main(words) == 2
    assert "cost_table" in capsys.readouterr().err
