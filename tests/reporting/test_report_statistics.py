from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun

from dnas.reporting import compare, diverged_rows, results_frame, statistics_frame
from dnas.reporting.comparison import best_trainings, expected_best


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def test_tables_of_the_paper_by_hand(fake: FakeRun) -> None:
    for job, (loss, calibration, rows) in enumerate(
        [(0.44, 0.98, 10.0), (0.45, 1.04, 20.0), (0.46, 1.00, 60.0), (0.49, 1.10, 30.0)]
    ):
        fake.sampled(str(job), loss, calibration=calibration, rows=rows)
    fake.sampled("bad", 20.55, calibration=3.9, rows=1.0, ne=36.0)
    fake.sampled("chance", 0.5, origin="random", rows=5.0)
    table = statistics_frame(results_frame(fake.run))
    searched = table[table["population"] == "searched"].set_index("statistic")
    assert searched["validation_logloss"].to_dict() == pytest.approx(
        {"min": 0.44, "mean": 0.46, "median": 0.455, "max": 0.49, "rows": 4, "diverged": 1}
    )
    distance = searched["validation_calibration_distance"]
    assert distance.to_dict() == pytest.approx(
        {"min": 0.0, "mean": 0.04, "median": 0.03, "max": 0.1, "rows": 4, "diverged": 1}
    )
    assert searched.loc[["min", "mean", "median", "max"], "embedding_rows"].tolist() == [
        10.0, 30.0, 25.0, 60.0,
    ]  # fmt: skip
    random = table[table["population"] == "random"].set_index("statistic")
    assert random.loc["max", "validation_logloss"] == 0.5
    assert random.loc["diverged", "validation_logloss"] == 0


def test_spaces_have_tables_of_their_own(fake: FakeRun) -> None:
    fake.sampled("0", 0.44, space="emb_card")
    fake.sampled("1", 0.46, space="emb_dim")
    table = statistics_frame(results_frame(fake.run))
    means = table[table["statistic"] == "mean"].set_index("search_space")["validation_logloss"]
    assert means.to_dict() == {"emb_card": 0.44, "emb_dim": 0.46}


def test_what_counts_as_diverged(fake: FakeRun) -> None:
    fake.sampled("ok", 0.45)
    fake.sampled("poor", 0.9, ne=1.6)
    fake.sampled("absurd", 0.9, ne=2.1)
    fake.sampled("nan", float("nan"))
    fake.sampled("inf", float("inf"), ne=None)
    fake.sampled("unknown ne", 0.6, ne=None)
    fake.sampled("unknown ne, absurd", 20.55, ne=None)
    frame = results_frame(fake.run)
    assert set(frame["job"][diverged_rows(frame)]) == {
        "absurd", "nan", "inf", "unknown ne, absurd",
    }  # fmt: skip


def test_only_diverged_trainings_still_make_a_table(fake: FakeRun) -> None:
    fake.sampled("0", float("nan"))
    table = statistics_frame(results_frame(fake.run)).set_index("statistic")
    assert table.loc["diverged", "validation_logloss"] == 1
    assert table.loc["rows", "validation_logloss"] == 0
    assert math.isnan(table.loc["mean", "validation_logloss"])


def test_an_empty_frame_has_no_statistics(fake: FakeRun) -> None:
    assert statistics_frame(results_frame(fake.run)).empty


def test_comparison_by_hand(fake: FakeRun) -> None:
    # Two trainings each; an architecture stands by its better one.
    for arch, losses, rows in (("s1", (0.44, 0.50), 10), ("s2", (0.47, 0.46), 20)):
        for lr, loss in zip(("0.5", "1.0"), losses, strict=True):
            fake.sampled(f"{arch}_{lr}", loss, arch=arch, rows=rows, settings={"lr": lr})
    for arch, losses, rows in (("r1", (0.45, 0.48), 30), ("r2", (0.49, 0.47), 15)):
        for lr, loss in zip(("0.5", "1.0"), losses, strict=True):
            fake.sampled(
                f"{arch}_{lr}", loss, arch=arch, rows=rows, origin="random", settings={"lr": lr}
            )
    found = compare(results_frame(fake.run), "embedding_rows")
    assert found is not None
    assert found.searched.losses.tolist() == [0.44, 0.46]
    assert found.random.losses.tolist() == [0.45, 0.47]
    assert (found.searched.trainings, found.random.count) == (4, 2)
    assert found.best_difference == pytest.approx(-0.01)
    assert found.mean_difference == pytest.approx(-0.01)
    # Each group has variance 0.0002: sqrt(0.0002 / 2 + 0.0002 / 2).
    assert found.standard_error == pytest.approx(math.sqrt(0.0002))
    assert found.win_rate == 0.75
    assert (found.searched.mean_cost, found.random.mean_cost) == (15.0, 22.5)
    assert found.random_beaten == 2  # s1 has less of both than r1 and than r2
    assert found.searched_beaten == 0
    assert found.same_budget
    assert "by less than 2 standard errors" in found.verdict


def test_the_verdict_does_not_flatter(fake: FakeRun) -> None:
    fake.sampled("s", 0.45, arch="s")
    fake.sampled("r", 0.45, arch="r", origin="random")
    found = compare(results_frame(fake.run), None)
    assert found is not None
    assert "did NOT beat random choice" in found.verdict
    assert found.win_rate == 0.5
    assert found.random_beaten == 0
    assert math.isnan(found.searched.best_cost)


@pytest.mark.parametrize(
    ("searched", "random", "words"),
    [
        ((0.44, 0.47), (0.45, 0.455), "in best log loss, NOT in mean log loss"),
        ((0.451, 0.452), (0.45, 0.47), "in mean log loss, NOT in best log loss"),
        ((0.46, 0.47), (0.45, 0.46), "did NOT beat random choice"),
        ((0.44, 0.441), (0.45, 0.451), "in best and in mean log loss."),
    ],
)
def test_verdicts(
    fake: FakeRun, searched: tuple[float, ...], random: tuple[float, ...], words: str
) -> None:
    for i, loss in enumerate(searched):
        fake.sampled(f"s{i}", loss, arch=f"s{i}")
    for i, loss in enumerate(random):
        fake.sampled(f"r{i}", loss, arch=f"r{i}", origin="random")
    found = compare(results_frame(fake.run), "embedding_rows")
    assert found is not None
    assert words in found.verdict


def test_the_best_of_many_is_not_held_against_the_best_of_few(fake: FakeRun) -> None:
    for i, loss in enumerate((0.44, 0.46, 0.48)):
        fake.sampled(f"s{i}", loss, arch=f"s{i}")
    fake.sampled("r", 0.45, arch="r", origin="random")
    found = compare(results_frame(fake.run), None)
    assert found is not None
    assert found.searched.best < found.random.best
    assert found.best_difference == pytest.approx(0.01)  # one of the three: 0.46 expected
    assert "did NOT beat" in found.verdict


def test_equal_architectures_do_not_beat_each_other(fake: FakeRun) -> None:
    fake.sampled("s", 0.45, arch="s", rows=7.0)
    fake.sampled("r", 0.45, arch="r", rows=7.0, origin="random")
    found = compare(results_frame(fake.run), "embedding_rows")
    assert found is not None
    assert (found.random_beaten, found.searched_beaten) == (0, 0)


def test_different_budgets_are_noticed(fake: FakeRun) -> None:
    fake.sampled("s0", 0.44, arch="s", settings={"lr": "0.5"})
    fake.sampled("s1", 0.44, arch="s", settings={"lr": "1.0"})
    fake.sampled("r0", 0.45, arch="r", origin="random", settings={"lr": "0.5"})
    found = compare(results_frame(fake.run), None)
    assert found is not None
    assert not found.same_budget


def test_no_comparison_without_both(fake: FakeRun) -> None:
    assert compare(results_frame(fake.run), None) is None
    fake.sampled("s0", 0.44)
    assert compare(results_frame(fake.run), None) is None
    fake.sampled("r0", float("nan"), origin="random")
    assert compare(results_frame(fake.run), None) is None


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_expected_best_equals_brute_force(k: int) -> None:
    losses = np.array([0.5, 0.44, 0.47, 0.44, 0.61])
    brute = np.mean([min(c) for c in itertools.combinations(losses, k)])
    assert expected_best(losses, k) == pytest.approx(brute, abs=1e-15)
    with pytest.raises(ValueError, match="k"):
        expected_best(losses, 6)


def test_best_trainings_keeps_one_row_for_each_architecture(fake: FakeRun) -> None:
    fake.sampled("a", 0.46, arch="x")
    fake.sampled("b", 0.45, arch="x")
    fake.sampled("c", 0.47, arch="y")
    fake.job("sampled", "d", result={"validation": {"logloss": 0.44}})
    fake.job("sampled", "e", result={"validation": {"logloss": 0.48}})
    assert best_trainings(results_frame(fake.run))["job"].tolist() == ["d", "b", "c", "e"]
