"""The final stage in the report, the table of complexities, the distribution of losses."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from fake_run import FakeRun

from dnas.files import read_json, write_json
from dnas.quality import LOGLOSS
from dnas.reporting import make_report, results_frame, status_text
from dnas.reporting.complexity import complexity_frame
from dnas.reporting.distribution import distribution_numbers, draw_distribution, worth_drawing
from dnas.reporting.final import complexity_lines, final_lines

COSTS = {"flops": 3e6, "params": 5000.0, "embedding_params": 4000.0}
FULL = {"flops": 3e6, "params": 91000.0, "embedding_params": 90000.0}


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def three_stages(fake: FakeRun) -> None:
    fake.run_status()
    fake.supernet("0")
    fake.sampled("s0", 0.45, arch="a", costs=COSTS)
    fake.sampled("s1", 0.46, arch="a", costs=COSTS)
    fake.sampled("s2", 0.47, arch="b", costs=COSTS)
    fake.sampled("r0", 0.48, arch="c", origin="random", costs=COSTS)
    fake.job("sampled", "bad", state="failed", reason="boom")
    runner_up = {"job": "sampled/s2", "value": 0.47, "canonical_id": "canonical-b"}
    fake.choice(("s0", "a", 0.45), runner_up=runner_up, without_value=["sampled/bad"])
    fake.final("f1", 0.440, arch="a", test=True, costs=FULL)
    fake.final("f2", 0.442, arch="a", test=True, costs=FULL)


def test_the_summary_tells_the_choice_and_the_final_model(fake: FakeRun) -> None:
    three_stages(fake)
    lines = make_report(fake.run).splitlines()
    assert "final jobs    2: 2 succeeded" in lines
    start = next(i for i, line in enumerate(lines) if line.startswith("chosen by"))
    assert lines[start : start + 6] == [
        "chosen by validation logloss (lower is better) among 3 architectures; the next is 0.02000 "
        "behind",
        "  sampled/s0  logloss 0.45000",
        "    final/f1 and 1 more: mean ± standard deviation",
        "    validation: logloss 0.44100 ± 0.00141 auc 0.80000 ± 0.00000",
        "    test: logloss 0.44000 ± 0.00141 auc 0.80000 ± 0.00000",
        "  1 job without a result took no part: sampled/bad",
    ]
    # What is best among the sampled ones, and the comparison with chance, leave the final out.
    assert "5 trainings" not in "\n".join(lines)
    assert "4 trainings of 3 architectures (1 of them random)" in "\n".join(lines)
    best = lines.index("best by validation log loss (lower is better)")
    assert "sampled/s0" in lines[best + 1]
    assert not any(line.startswith("  test:") for line in lines)


def test_results_hold_both_stages_and_other_tables_the_sampled_one(fake: FakeRun) -> None:
    three_stages(fake)
    make_report(fake.run)
    results = pd.read_csv(fake.run.results)
    assert results["stage"].tolist() == ["sampled"] * 4 + ["final"] * 2
    assert results[results["stage"] == "sampled"]["test_logloss"].isna().all()
    assert results[results["stage"] == "final"]["test_logloss"].tolist() == [0.439, 0.441]
    statistics = pd.read_csv(fake.run.statistics)
    rows = statistics[statistics["statistic"] == "rows"]["validation_logloss"].tolist()
    assert rows == [1, 3]
    assert len(pd.read_csv(fake.run.distribution)) == 3
    assert len(pd.read_csv(fake.run.complexity)) == 4


def test_several_final_stages_of_which_the_last_made_the_final_model(fake: FakeRun) -> None:
    three_stages(fake)
    fake.choice(("f1", "a", 0.44), kind="final_2")
    fake.final("g1", 0.41, arch="a", test=True, kind="final_2", costs=FULL)
    lines = make_report(fake.run).splitlines()
    assert "final_2 jobs  1: 1 succeeded" in lines
    start = next(i for i, line in enumerate(lines) if line.startswith("final: chosen by"))
    assert lines[start + 1] == "  sampled/s0  logloss 0.45000"
    assert lines[start + 2] == "  1 job without a result took no part: sampled/bad"
    assert lines[start + 3].startswith("final_2: chosen by validation logloss")
    assert lines[start + 4 : start + 6] == ["  final/f1  logloss 0.44000", "    final_2/g1"]
    results = pd.read_csv(fake.run.results)
    assert results["stage"].tolist() == ["sampled"] * 4 + ["final"] * 2 + ["final_2"]
    # The models of a stage between are no final models.
    complexity = pd.read_csv(fake.run.complexity)
    assert complexity[complexity["role"] == "final"]["job"].tolist() == ["g1"]
    assert "final_2   1 job: 1 succeeded" in status_text(fake.run)


def test_until_the_last_stage_is_trained_there_is_no_final_model(fake: FakeRun) -> None:
    three_stages(fake)
    fake.choice(*(("s0", "a", 0.45),) * 5)
    experiment = read_json(fake.run.experiment)
    write_json(fake.run.experiment, experiment | {"configs": {"final": {}, "final_2": {}}})
    lines = make_report(fake.run).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("final: chosen by"))
    assert lines[start + 1 : start + 4] == ["  sampled/s0  logloss 0.45000"] * 3
    assert lines[start + 4] == "  and 2 more"
    assert not any("test: not read" in line for line in lines)
    assert "final" not in pd.read_csv(fake.run.complexity)["role"].tolist()
    fake.choice(("f1", "a", 0.44), kind="final_2")
    lines = make_report(fake.run).splitlines()
    assert "    its final model has not been trained yet" in lines
    assert "final" not in pd.read_csv(fake.run.complexity)["role"].tolist()


def test_a_final_model_that_waits_or_has_seen_no_test_rows(fake: FakeRun) -> None:
    fake.sampled("s0", 0.45, arch="a")
    fake.sampled("s1", 0.46, arch="b")
    fake.choice(("s0", "a", 0.45), ("s1", "b", 0.46))
    fake.final("f1", 0.44, arch="b")
    text = make_report(fake.run)
    assert "    its final model has not been trained yet" in text
    assert "    test: not read; see --check_test_set_performance" in text
    assert "the next is" not in text


def test_metrics_of_a_test_under_several_protocols(fake: FakeRun) -> None:
    three_stages(fake)
    for name, recall in (("f1", 0.25), ("f2", 0.75)):
        path = fake.run.job("final", name).result
        result = read_json(path)
        result["test"] = {"auc.early": recall, "auc.late": 0.5, "of_no_validation.late": 1.0}
        write_json(path, result)
    lines = make_report(fake.run).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    validation:"))
    assert lines[start + 1 : start + 3] == [
        "    test early: auc 0.50000 ± 0.35355",
        "    test late: auc 0.50000 ± 0.00000",
    ]


def test_a_chosen_random_architecture_is_pointed_out(fake: FakeRun) -> None:
    fake.sampled("r", 0.45, arch="a", origin="random")
    fake.choice(("r", "a", 0.45))
    value = read_json(fake.run.choice())
    value["chosen"][0]["origin"] = "random"
    write_json(fake.run.choice(), value)
    assert "CAUTION: it was drawn at random; no searched architecture took part" in make_report(
        fake.run
    )


@pytest.mark.parametrize(
    "choice", [{}, {"chosen": 3}, {"chosen": [1]}, {"chosen": [{}], "candidates": "x"}]
)
def test_a_choice_that_says_little_does_no_harm(choice: dict[str, object], fake: FakeRun) -> None:
    fake.final("f1", 0.44, arch="a")
    text = "\n".join(final_lines({"final": choice}, {"final": results_frame(fake.run)}))
    assert "    final/f1" in text or "its final model has not been" in text


def test_a_damaged_choice_is_as_none(fake: FakeRun) -> None:
    fake.final("f1", 0.44, arch="a")
    fake.run.choice().write_text("{")
    assert "final models (no usable choice.json says by what" in make_report(fake.run)


def test_status_shows_the_final_stage_where_there_is_one(fake: FakeRun) -> None:
    fake.sampled("s0", 0.45)
    assert "final" not in status_text(fake.run)
    experiment = read_json(fake.run.experiment)
    write_json(fake.run.experiment, experiment | {"configs": {"final": {}}})
    assert "final     no jobs yet" in status_text(fake.run)
    fake.final("f", 0.44)
    assert "final     1 job: 1 succeeded" in status_text(fake.run)


# ---- complexity ---------------------------------------------------------------------------------


def test_complexities_by_hand(fake: FakeRun) -> None:
    three_stages(fake)
    fake.sampled("d0", 0.49, arch="dlrm", origin="given", costs={"flops": 54e6, "params": 1e6})
    table = complexity_frame(results_frame(fake.run))
    assert table["role"].tolist() == ["final", "searched", "searched", "random", "given"]
    assert table["job"].tolist() == ["f1", "s0", "s2", "r0", "d0"]
    assert table["trainings"].tolist() == [2, 2, 1, 1, 1]
    assert table["mmacs"].tolist() == [1.5, 1.5, 1.5, 1.5, 27.0]
    assert table["embedding_params"].tolist()[:4] == [90000, 4000, 4000, 4000]
    assert pd.isna(table["embedding_params"].iloc[4])
    assert table["validation_logloss"].tolist() == pytest.approx([0.441, 0.45, 0.47, 0.48, 0.49])
    assert table["test_logloss"].iloc[0] == pytest.approx(0.44)
    assert table["test_logloss"].iloc[1:].isna().all()


def test_the_summary_has_the_best_of_each_role(fake: FakeRun) -> None:
    three_stages(fake)
    fake.sampled("d0", 0.49, arch="dlrm", origin="given", costs={"flops": 54e6, "params": 1e6})
    lines = complexity_lines(complexity_frame(results_frame(fake.run)))
    assert [" ".join(line.split()) for line in lines] == [
        "complexity",
        "logloss auc test logloss test auc MMACs params embedding",
        "final id-a 0.44100 0.80000 0.44000 0.80000 1.5 91 k 90 k",
        "best searched id-a 0.45000 0.80000 - - 1.5 5,000 4,000",
        "best random id-c 0.48000 0.80000 - - 1.5 5,000 4,000",
        "given id-dlrm 0.49000 0.80000 - - 27 1 M -",
    ]


def test_given_ones_are_in_no_curve_and_in_no_comparison(fake: FakeRun) -> None:
    fake.sampled("s", 0.45, arch="a")
    fake.sampled("r", 0.46, arch="b", origin="random")
    fake.sampled("d", 0.40, arch="c", origin="given")
    fake.sampled("d1", 0.49, arch="e", origin="given", space="own")
    text = make_report(fake.run)
    lines = [line.split() for line in text.splitlines()]
    assert ["searched", "1", "1", "0.45000", "0.45000"] in [line[:5] for line in lines]
    assert "(1 of them random, 2 of them given)" in text
    assert "not known" not in text
    assert set(pd.read_csv(fake.run.distribution)["population"]) == {"searched", "random"}


def test_without_costs_there_is_no_table_of_them(fake: FakeRun) -> None:
    fake.job("sampled", "0", result={"validation": {"logloss": 0.45}})
    assert "complexity" not in make_report(fake.run).replace("complexity,cdf", "")
    assert len(pd.read_csv(fake.run.complexity)) == 1
    for job in fake.run.jobs("sampled"):
        job.result.unlink()
    make_report(fake.run)
    assert pd.read_csv(fake.run.complexity).empty


# ---- distribution -------------------------------------------------------------------------------


def test_a_distribution_by_hand(fake: FakeRun) -> None:
    for job, loss, arch in (("0", 0.46, "a"), ("1", 0.45, "a"), ("2", 0.44, "b"), ("3", 0.45, "c")):
        fake.sampled(job, loss, arch=arch, origin="random")
    fake.sampled("4", 0.9, arch="d", origin="random", ne=3.0)  # diverged
    fake.sampled("5", 0.43, arch="e")
    fake.sampled("6", 0.48, arch="f", origin="random", space="other")
    numbers = distribution_numbers(results_frame(fake.run))
    assert numbers[["search_space", "population"]].drop_duplicates().values.tolist() == [
        ["emb_card", "random"], ["emb_card", "searched"], ["other", "random"],
    ]  # fmt: skip
    first = numbers[numbers["population"] == "random"].iloc[:3]
    assert first["job"].tolist() == ["2", "1", "3"]
    assert first["fraction"].tolist() == pytest.approx([1 / 3, 1.0, 1.0])
    assert numbers["fraction"].iloc[3:].tolist() == [1.0, 1.0]


def test_a_distribution_of_single_points_is_not_drawn(fake: FakeRun) -> None:
    fake.sampled("0", 0.45, arch="a")
    fake.sampled("1", 0.46, arch="b", origin="random")
    assert not worth_drawing(distribution_numbers(results_frame(fake.run)))
    make_report(fake.run)
    assert not list(fake.run.figures.glob("cdf*"))
    fake.sampled("2", 0.47, arch="c", origin="random")
    make_report(fake.run)
    assert (fake.run.figures / "cdf.validation_logloss.png").exists()


def test_the_picture_has_a_line_for_each_curve(fake: FakeRun) -> None:
    for n in range(6):
        fake.sampled(f"r{n}", 0.45 + n / 1000, arch=f"r{n}", origin="random")
        fake.sampled(f"o{n}", 0.46 + n / 1000, arch=f"o{n}", origin="random", space="other")
    fake.sampled("far", 0.6, arch="far", origin="random", space="other")
    fake.sampled("s", 0.451, arch="s")
    figure = draw_distribution(distribution_numbers(results_frame(fake.run)), LOGLOSS, "demo")
    (axes,) = figure.axes
    labels = [line.get_label() for line in axes.get_lines()]
    assert labels == ["emb_card random (6)", "emb_card searched (1)", "other random (7)"]
    random, searched, other = axes.get_lines()
    assert random.get_color() == searched.get_color() != other.get_color()
    assert random.get_ydata()[0] == 0.0
    assert random.get_ydata()[-1] == 1.0
    assert random.get_xdata()[1] == 0.45
    assert axes.get_xlim()[1] < 0.6
