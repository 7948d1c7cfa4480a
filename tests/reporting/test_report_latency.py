"""Predicted against measured latency, and a run whose main cost is latency."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fake_run import FakeRun

from dnas.reporting import cost_columns, make_report, results_frame
from dnas.reporting.frames import cost_label
from dnas.reporting.latency import (
    draw_latency,
    latency_agreements,
    latency_frame,
    latency_lines,
)
from dnas.reporting.records import read_run

#: Predicted, error, measured, spread. Ratios 0.9, 1, 1.1, 0.8; one outside its error.
BY_HAND = ((90.0, 10.0, 100.0, 4.0), (200.0, 5.0, 200.0, 6.0), (330.0, 30.0, 300.0, 8.0),
           (240.0, 20.0, 300.5, 9.0))  # fmt: skip


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def timed(fake: FakeRun, job: str, numbers: tuple[float, ...], arch: str = "", **more: Any) -> None:
    predicted, error, measured, spread = numbers
    latency = {"predicted": predicted, "error": error, "measured": measured, "spread": spread}
    latency |= {"rows": 512, "threads": 1, "device": "cpu"} | more.pop("setting", {})
    costs = {"flops": 2e6, "latency": predicted, "measured_latency": measured}
    fake.sampled(job, 0.45 + predicted / 1e6, arch=arch or job, costs=costs, latency=latency)


def agreements(fake: FakeRun) -> list[Any]:
    return latency_agreements(latency_frame(read_run(fake.run)))


def test_columns_are_there_only_if_some_row_has_them(fake: FakeRun) -> None:
    fake.sampled("0", 0.45)
    assert not {"latency", "measured_latency"} & set(results_frame(fake.run).columns)
    timed(fake, "1", BY_HAND[0])
    frame = results_frame(fake.run)
    assert frame.columns.tolist()[-5:] == [
        "average_dim", "latency", "measured_latency", "seconds", "peak_memory_bytes",
    ]  # fmt: skip
    assert frame["latency"].tolist() == pytest.approx([math.nan, 90.0], nan_ok=True)
    assert cost_columns(frame)[-2:] == ["latency", "measured_latency"]
    assert cost_label("measured_latency") == "measured latency (µs a forward pass)"
    assert cost_label("cost.embedding_params") == "embedding_params"


def test_agreement_by_hand(fake: FakeRun) -> None:
    for job, numbers in enumerate(BY_HAND):
        timed(fake, str(job), numbers)
    (found,) = agreements(fake)
    assert (found.setting, found.count) == ("cpu, 512 rows, 1 thread", 4)
    # Order 1 2 4 3 against 1 2 3 4: five pairs agree, one does not; 1 - 6 * 2 / 60.
    assert found.kendall.value == pytest.approx(4 / 6)
    assert found.spearman.value == pytest.approx(0.8)
    assert math.isnan(found.kendall.low)
    ratios = [0.9, 1.0, 1.1, 240 / 300.5]
    assert found.bias == pytest.approx(0.95)
    assert found.relative_error == pytest.approx(np.median(np.abs(np.array(ratios) - 1)))
    assert (found.inside, found.with_error) == (3, 4)
    assert latency_lines([found]) == [
        "latency: predicted against measured (µs a forward pass)",
        "  cpu, 512 rows, 1 thread: 4 architectures, 3 of 4 inside predicted ± error",
        "    Kendall's τ-b 0.67, Spearman's ρ 0.80",
        "    median error 10.0%, median of predicted / measured 0.95",
    ]


def test_an_architecture_counts_once_and_by_its_median(fake: FakeRun) -> None:
    for job, measured in enumerate((100.0, 104.0, 160.0)):
        timed(fake, f"a{job}", (90.0, 10.0, measured, 4.0 + job), arch="a")
    # The same network, measured on another device, and predicted for other rows.
    timed(fake, "b0", (90.0, 10.0, 20.0, 1.0), arch="a", setting={"device": "cuda"})
    table = latency_frame(read_run(fake.run))
    assert table["job"].tolist() == ["sampled/a0", "sampled/b0"]
    assert table["measured_us"].tolist() == [104.0, 20.0]
    assert table["spread_us"].tolist() == [5.0, 1.0]
    assert table["measurements"].tolist() == [3, 1]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("device_name", "Z80", "cpu Z80, 512 rows, 1 thread"),
        ("dtype", "bfloat16", "cpu, 512 rows, 1 thread, bfloat16"),
        ("clock", "processor", "cpu, 512 rows, 1 thread, processor clock"),
        ("hash", "0123", "cpu, 512 rows, 1 thread, table 0123"),
        ("threads", 16, "cpu, 512 rows, 16 threads"),
    ],
)
def test_what_was_measured_otherwise_is_not_mixed(
    fake: FakeRun, name: str, value: Any, said: str
) -> None:
    for job, numbers in enumerate(BY_HAND):
        timed(fake, f"a{job}", numbers, arch=str(job))
        slower = (*numbers[:2], 2 * numbers[2], numbers[3])
        timed(fake, f"b{job}", slower, arch=str(job), setting={name: value})
    first, other = agreements(fake)
    assert (first.setting, other.setting) == ("cpu, 512 rows, 1 thread", said)
    assert (first.bias, other.bias) == (pytest.approx(0.95), pytest.approx(0.475))


def test_too_few_to_compare(fake: FakeRun) -> None:
    for job, numbers in enumerate(BY_HAND[:2]):
        timed(fake, str(job), numbers)
    assert "1 thread: 2 architectures, too few to say how well they agree" in make_report(fake.run)
    assert (fake.run.figures / "latency.png").exists()


def test_intervals_need_eight(fake: FakeRun) -> None:
    generator = np.random.default_rng(0)
    for job in range(8):
        predicted = 100.0 * (job + 1)
        timed(fake, str(job), (predicted, 10.0, predicted * generator.uniform(0.8, 1.2), 1.0))
    (found,) = agreements(fake)
    for interval in (found.kendall, found.spearman):
        assert -1 <= interval.low <= interval.value <= interval.high <= 1


@pytest.mark.parametrize("measured", [None, 0.0, float("inf"), "fast"])
def test_what_was_only_predicted_is_listed_and_not_compared(fake: FakeRun, measured: Any) -> None:
    fake.sampled("0", 0.45, latency={"predicted": 90.0, "measured": measured})
    table = latency_frame(read_run(fake.run))
    assert table["predicted_us"].tolist() == [90.0]
    assert table["measurements"].tolist() == [0]
    assert agreements(fake) == []
    make_report(fake.run)
    assert fake.run.latency.exists()
    assert not (fake.run.figures / "latency.png").exists()


def test_costs_alone_are_enough(fake: FakeRun) -> None:
    for job, (predicted, _, measured, _) in enumerate(BY_HAND):
        costs = {"latency": predicted, "measured_latency": measured}
        fake.sampled(str(job), 0.45, arch=str(job), costs=costs)
    (found,) = agreements(fake)
    assert (found.setting, found.count, found.with_error) == ("", 4, 0)
    assert latency_lines([found])[1] == "  4 architectures"


def test_equal_latencies_have_no_correlation(fake: FakeRun) -> None:
    for job in range(3):
        timed(fake, str(job), (100.0, 1.0, 100.0 + job, 1.0))
    assert "Kendall's τ-b -, Spearman's ρ -" in make_report(fake.run)


def test_a_run_whose_main_cost_is_latency(fake: FakeRun) -> None:
    fake.supernet("0", resolved={"cost": "latency", "cost_target": ["latency=200"]})
    for job, numbers in enumerate(BY_HAND):
        timed(fake, str(job), (numbers[0] * 50, *numbers[1:]))
    text = make_report(fake.run)
    assert "latency 4,500 µs" in text
    assert "latency: predicted against measured (µs a forward pass)" in text
    assert "{results,pareto,statistics,complexity,cdf,failures,latency}.csv" in text
    pareto = pd.read_csv(fake.run.pareto)
    assert pareto["cost_metric"].unique().tolist() == ["latency", "measured_latency"]
    table = pd.read_csv(fake.run.latency)
    assert table.columns.tolist() == [
        "canonical_id", "architecture_id", "job", "device", "device_name", "rows", "threads",
        "dtype", "clock", "hash", "predicted_us", "error_us", "measured_us", "spread_us",
        "measurements",
    ]  # fmt: skip
    assert {"front.latency.png", "front.measured_latency.png", "latency.png"} <= {
        path.name for path in fake.run.figures.iterdir()
    }


def test_the_picture_of_latencies(fake: FakeRun) -> None:
    for job, numbers in enumerate(BY_HAND):
        timed(fake, str(job), numbers)
    table = latency_frame(read_run(fake.run))
    axes = draw_latency(table, "demo").axes[0]
    assert axes.get_xscale() == "linear"
    assert axes.get_xlabel() == "predicted latency (µs a forward pass)"
    (line,) = [line for line in axes.lines if line.get_label() == "predicted = measured"]
    assert list(line.get_xdata()) == list(line.get_ydata()) == [90.0, 330.0]
    timed(fake, "slow", (9000.0, 10.0, 9100.0, 4.0))
    table = latency_frame(read_run(fake.run))
    assert draw_latency(table, "demo").axes[0].get_xscale() == "log"
