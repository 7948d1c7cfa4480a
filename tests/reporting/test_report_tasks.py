"""Reports of runs that are judged by something else than the log loss of clicks."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from fake_run import FakeRun

from dnas.errors import JobError
from dnas.quality import LOGLOSS, Quality, judged_by
from dnas.reporting import (
    compare,
    diverged_rows,
    draw_front,
    front_numbers,
    make_report,
    results_frame,
    statistics_frame,
)
from dnas.reporting.complexity import complexity_frame
from dnas.reporting.distribution import distribution_numbers, draw_distribution
from dnas.reporting.judging import quality_of

ACCURACY = {"metric": "accuracy", "maximize": True}
MSE = {"metric": "mse", "maximize": False}


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def images(fake: FakeRun) -> None:
    """Accuracy and flops: s0 is the best, s1 nearly as good and cheap, r0 beaten by both."""
    fake.run_status()
    fake.supernet("0", resolved={"cost": "flops"})
    for job, accuracy, flops, origin in (
        ("s0", 0.80, 4e6, "draw"),
        ("s1", 0.795, 1e6, "draw"),
        ("s2", 0.70, 5e5, "draw"),
        ("r0", 0.75, 4e6, "random"),
        ("r1", 0.65, 1e6, "random"),
    ):
        validation = {"logloss": 1.5 - accuracy, "accuracy": accuracy, "rows": 600.0}
        fake.judged(
            job, ACCURACY, validation, arch=job, origin=origin, space="images",
            costs={"flops": flops}, test={"accuracy": accuracy - 0.1, "logloss": 1.0},
        )  # fmt: skip


# ---- what decides -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selection", "validation", "expected"),
    [
        (ACCURACY, {"logloss": 0.4, "accuracy": 0.9}, Quality("accuracy", True)),
        ({"metric": "mse"}, {}, Quality("mse")),
        (None, {"accuracy": 0.9, "logloss": 0.4}, LOGLOSS),
        (None, {"mse": 2.0, "rows": 10}, Quality("mse")),
        (None, {"mse": 2.0, "mae": 1.0}, None),
        (None, {"rows": 10}, None),
        ("logloss", {"logloss": 0.4}, LOGLOSS),
    ],
)
def test_what_a_result_is_judged_by(
    selection: object, validation: dict[str, float], expected: Quality | None
) -> None:
    assert judged_by({"selection": selection}, validation) == expected


def test_a_quality_in_words() -> None:
    accuracy = Quality("top_5_accuracy", maximize=True)
    assert (accuracy.words, accuracy.direction) == ("top 5 accuracy", "higher is better")
    assert accuracy.column == "validation_top_5_accuracy"
    assert accuracy.signed(accuracy.signed(0.9)) == 0.9 > accuracy.signed(0.9)
    assert Quality.from_str(str(accuracy)) == accuracy
    assert (str(LOGLOSS), LOGLOSS.words, LOGLOSS.signed(0.4)) == ("min logloss", "log loss", 0.4)
    with pytest.raises(ValueError, match="'min METRIC' or 'max METRIC'"):
        Quality.from_str("accuracy")


# ---- images by accuracy -------------------------------------------------------------------------


def test_a_table_says_what_its_rows_are_judged_by(fake: FakeRun) -> None:
    images(fake)
    frame = results_frame(fake.run)
    metrics = [c for c in frame.columns if c.startswith(("selection", "validation_", "test_"))]
    assert metrics == [
        "selection", "validation_accuracy", "validation_logloss", "validation_rows",
        "test_accuracy", "test_logloss",
    ]  # fmt: skip
    assert set(frame["selection"]) == {"max accuracy"}
    assert quality_of(frame) == Quality("accuracy", True)


def test_a_front_of_accuracy_by_hand(fake: FakeRun) -> None:
    images(fake)
    numbers = front_numbers(results_frame(fake.run), "flops")
    assert numbers.front["job"].tolist() == ["s2", "s1", "s0"]
    figure = draw_front(numbers, "demo")
    axes = figure.axes[0]
    assert axes.get_ylabel() == "validation accuracy (higher is better)"
    assert axes.lines[0].get_ydata().tolist() == [0.70, 0.795, 0.80]
    assert [t.get_text() for t in axes.texts if "better" in t.get_text()] == ["↖ better"]


def test_what_is_far_below_is_drawn_on_the_lower_edge(fake: FakeRun) -> None:
    for i in range(8):
        validation = {"accuracy": 0.9 - i / 1000}
        fake.judged(str(i), ACCURACY, validation, arch=str(i), costs={"flops": 1e6 + i})
    fake.judged("chance", ACCURACY, {"accuracy": 0.1}, arch="c", costs={"flops": 1e6})
    figure = draw_front(front_numbers(results_frame(fake.run), "flops"), "demo")
    assert "below the axis (1)" in {text.get_text() for text in figure.legends[0].get_texts()}
    assert figure.axes[0].get_ylim()[0] > 0.8


def test_searched_against_random_by_accuracy(fake: FakeRun) -> None:
    images(fake)
    found = compare(results_frame(fake.run), "flops")
    assert found is not None
    assert found.searched.losses.tolist() == [-0.80, -0.795, -0.70]
    assert found.searched.best_cost == 4e6
    # Searched 2.295 / 3 = 0.765, random 0.7; best of two of three: (0.8 + 0.8 + 0.795) / 3.
    assert found.mean_difference == pytest.approx(-0.065)
    assert found.best_difference == pytest.approx(-(2.395 / 3 - 0.75))
    assert found.win_rate == pytest.approx(5 / 6)
    # s0 beats r0 at equal cost and s1 beats it twice over, s1 beats r1; no random one beats any.
    assert (found.random_beaten, found.searched_beaten) == (2, 0)
    assert found.verdict.startswith("The search beat random choice, in best and in mean accuracy")


def test_the_summary_speaks_of_accuracy(fake: FakeRun) -> None:
    images(fake)
    lines = make_report(fake.run).splitlines()
    best = lines.index("best by validation accuracy (higher is better)")
    assert "sampled/s0" in lines[best + 1]
    assert lines[best + 2] == "  epoch 3: accuracy 0.80000 logloss 0.70000, flops 4 M"
    assert lines[best + 3] == "  test: accuracy 0.70000 logloss 1.00000"
    # One percent of 0.8 is 0.008, and 0.795 is within it.
    assert lines[best + 4] == "cheapest within 1% of it: 4x less flops"
    against = next(i for i, line in enumerate(lines) if line.startswith("against random"))
    assert lines[against + 1].split()[:6] == [
        "architectures", "trainings", "best", "accuracy", "mean", "accuracy",
    ]  # fmt: skip
    assert lines[against + 2].split()[:5] == ["searched", "3", "3", "0.80000", "0.76500"]
    assert lines[against + 4].split()[:3] == ["difference", "+0.05000", "+0.06500"]
    assert "best of 2 each +0.04833" in lines[against + 5]
    statistics = next(i for i, line in enumerate(lines) if line.startswith("searched, best epoch"))
    assert lines[statistics + 1].split() == ["accuracy", "flops"]
    assert lines[statistics + 2].split() == ["min", "0.70000", "500", "k"]
    assert "calibration" not in "\n".join(lines)
    assert max(map(len, lines)) <= 100
    assert sorted(p.name for p in fake.run.figures.iterdir()) == [
        "cdf.validation_accuracy.png", "front.flops.png",
    ]  # fmt: skip
    assert pd.read_csv(fake.run.pareto)["job"].tolist() == ["s2", "s1", "s0"]
    assert not fake.run.latency.exists()


def test_statistics_of_accuracy(fake: FakeRun) -> None:
    images(fake)
    fake.judged("nan", ACCURACY, {"accuracy": math.nan, "logloss": 1.0}, arch="n", space="images")
    # Chance is a poor accuracy and no failure of arithmetic, whatever the log loss.
    fake.judged("poor", ACCURACY, {"accuracy": 0.1, "logloss": 99.0}, arch="p", space="images")
    frame = results_frame(fake.run)
    assert frame["job"][diverged_rows(frame)].tolist() == ["nan"]
    table = statistics_frame(frame)
    searched = table[table["population"] == "searched"].set_index("statistic")
    assert [c for c in searched.columns if c.startswith("validation_")] == [
        "validation_accuracy", "validation_logloss",
    ]  # fmt: skip
    assert searched["validation_accuracy"].to_dict() == pytest.approx(
        {"min": 0.1, "mean": 0.59875, "median": 0.7475, "max": 0.8, "rows": 4, "diverged": 1}
    )


def test_the_distribution_of_accuracy_begins_with_the_best(fake: FakeRun) -> None:
    images(fake)
    frame = results_frame(fake.run)
    numbers = distribution_numbers(frame)
    searched = numbers[numbers["population"] == "searched"]
    assert searched["validation_accuracy"].tolist() == [0.80, 0.795, 0.70]
    assert searched["fraction"].tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    (axes,) = draw_distribution(numbers, quality_of(frame), "demo").axes
    assert axes.get_ylabel() == "fraction of architectures at or above"
    low, high = axes.get_xlim()
    assert low < 0.65 < 0.80 < high
    assert axes.get_lines()[1].get_xdata()[:2].tolist() == [0.80, 0.80]


def test_the_table_of_complexity_has_the_metrics_of_the_task(fake: FakeRun) -> None:
    images(fake)
    fake.judged("f", ACCURACY, {"accuracy": 0.82}, kind="final", arch="s0", space="images")
    table = complexity_frame(results_frame(fake.run))
    assert table["job"].tolist() == ["f", "s0", "s1", "s2", "r0", "r1"]
    assert [c for c in table.columns if c.startswith(("validation_", "test_"))] == [
        "validation_accuracy", "validation_logloss", "test_accuracy", "test_logloss",
    ]  # fmt: skip
    assert table["validation_accuracy"].iloc[:2].tolist() == [0.82, 0.80]
    fake.choice(("s0", "s0", 0.8), metric="accuracy", maximize=True)
    text = make_report(fake.run)
    assert "chosen by validation accuracy (higher is better) among 3 architectures" in text
    assert "    validation: accuracy 0.82000" in text


def test_the_best_epoch_is_that_of_the_best_accuracy(fake: FakeRun) -> None:
    folder = fake.judged("0", ACCURACY, {}, arch="a")
    epochs = [
        {"epoch": float(i + 1), "validation": {"accuracy": value, "logloss": value}}
        for i, value in enumerate([0.5, 0.7, 0.6])
    ]
    text = {"selection": ACCURACY, "status": "succeeded", "epochs": epochs}
    pd.Series(text).to_json(folder.result)
    row = results_frame(fake.run).iloc[0]
    assert (row["validation_accuracy"], row["best_epoch"]) == (0.7, 2.0)


# ---- regression ---------------------------------------------------------------------------------


def test_a_regression_by_mse(fake: FakeRun) -> None:
    for job, mse, origin in (
        ("s0", 2050.25, "draw"),
        ("s1", 3000.0, "draw"),
        ("r0", 9e6, "random"),
    ):
        fake.judged(job, MSE, {"mse": mse, "mae": 3.0}, arch=job, origin=origin)
    frame = results_frame(fake.run)
    # 9e6 is three thousand times the median, and counts all the same.
    assert not diverged_rows(frame).any()
    text = make_report(fake.run)
    assert "best by validation MSE (lower is better)" in text
    assert "mse 2050.25 mae 3.00000" in text
    assert "The search beat random choice, in best and in mean MSE" in text
    assert "validation_logloss" not in pd.read_csv(fake.run.results).columns
    assert (fake.run.figures / "cdf.validation_mse.png").exists()


def test_a_program_that_says_nothing_is_judged_by_its_only_metric(fake: FakeRun) -> None:
    for job, error in (("a", 0.5), ("b", 0.3)):
        fake.job("sampled", job, result={"validation": {"hinge_error": error}})
    lines = make_report(fake.run).splitlines()
    best = lines.index("best by validation hinge error (lower is better)")
    assert "sampled/b" in lines[best + 1]


# ---- several metrics in one run -----------------------------------------------------------------


def test_rows_judged_by_another_metric_are_kept_apart(fake: FakeRun) -> None:
    images(fake)
    fake.judged("m", MSE, {"mse": 0.01, "accuracy": 0.99}, arch="m")
    fake.judged("u", None, {"f1": 0.9, "recall": 0.8}, arch="u")
    fake.sampled("c", 0.45, arch="c")
    with pytest.raises(JobError, match="judged by different metrics"):
        quality_of(results_frame(fake.run))
    text = make_report(fake.run)
    assert "5 trainings of 5 architectures" in text
    assert "3 trainings not judged by accuracy: in results.csv only" in text
    assert "sampled/s0" in text[text.index("best by validation accuracy") :].splitlines()[1]
    results = pd.read_csv(fake.run.results).set_index("job")
    assert results["selection"].to_dict() == {
        "c": "min logloss", "m": "min mse", "u": pytest.approx(math.nan, nan_ok=True),
        **dict.fromkeys(["s0", "s1", "s2", "r0", "r1"], "max accuracy"),
    }  # fmt: skip
    assert results.loc["c", "validation_ne"] == 0.8
    assert set(pd.read_csv(fake.run.distribution)["job"]) == {"s0", "s1", "s2", "r0", "r1"}


def test_when_no_result_says_what_it_is_judged_by(fake: FakeRun) -> None:
    fake.judged("u", None, {"f1": 0.9, "recall": 0.8}, arch="u")
    text = make_report(fake.run)
    assert "1 training not judged by log loss: in results.csv only" in text
    assert "no architecture has been trained" in text
    assert "best by" not in text
