"""Tables of a study, from result files that are written by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dnas.errors import JobError
from dnas.reporting import make_ranking_report
from dnas.reporting.rank_correlation import pearson
from dnas.reporting.ranking_frames import scores_frame, truths_frame
from dnas.reporting.ranking_numbers import (
    choices_frame,
    correlations_frame,
    differences_frame,
    noise_frame,
    scorers_of,
)
from dnas.reporting.ranking_report import _choices
from dnas.runs import RunFolder

#: True losses of six subnets with two seeds; the last one diverged with the second.
TRUTH = {1: [0.41, 0.42, 0.43, 0.44, 0.45, 0.46], 2: [0.42, 0.41, 0.44, 0.43, 0.46, 9.9]}


class FakeStudy:
    """Writes the files of a study's jobs."""

    def __init__(self, path: Path) -> None:
        self.run = RunFolder(path)
        self.write("study.json", {"format": "dnas.study/1", "num_subnets": 6, "subnet_seed": 1})
        self.write("experiment.json", {"experiment_id": "fake"})

    def write(self, name: str, value: object) -> None:
        file = self.run.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))

    def job(self, kind: str, name: str, job: dict, result: dict) -> None:
        self.write(f"{kind}/{name}/job.json", {"id": name, "settings": {}, **job})
        self.write(f"{kind}/{name}/status.json", {"state": "succeeded", "exit_code": 0})
        self.write(f"{kind}/{name}/result.json", {"status": "succeeded", **result})

    def draw(self, count: int = 6) -> None:
        self.job("drawn", "0000-d", {}, {})
        for i in range(count):
            value = {"id": f"a{i}", "canonical_id": f"c{i}"}
            self.write(f"drawn/0000-d/architectures/{i:04d}.json", value)

    def train(self, truth: dict[int, list[float]] | None = None) -> None:
        for seed, losses in (truth or TRUTH).items():
            for i, loss in enumerate(losses):
                file = f"/elsewhere/fake/drawn/0000-d/architectures/{i:04d}.json"
                self.job(
                    "sampled",
                    f"{seed}{i:03d}-x",
                    {"architecture": file, "canonical_id": f"c{i}", "settings": {"seed": seed}},
                    {
                        "validation": {"logloss": loss, "ne": loss / 0.5},
                        "settings": {"seed": seed},
                        "seconds": 2.0,
                        "architecture": {"id": f"a{i}", "canonical_id": f"c{i}"},
                    },
                )

    def score(self, name: str, settings: dict[str, str], **ways: list[float | None]) -> None:
        self.job("supernet", name, {"settings": settings}, {"seconds": 30.0})
        entries = [
            {"file": f"{i:04d}.json", "id": f"a{i}", "canonical_id": f"c{i}"} for i in range(6)
        ]
        for how, scores in ways.items():
            for entry, score in zip(entries, scores, strict=True):
                entry[how] = {"logloss": score}  # type: ignore[assignment]
        inputs = {
            "SUPERNET_PARAM": f"supernet/{name}",
            "ARCHITECTURES_PARAM": "drawn/0000-d/architectures",
        }
        chosen = {f"supernet.{key}": value for key, value in settings.items()}
        # Scoring jobs are numbered in the order in which supernets ended: backwards, say.
        self.job("scored", f"{9 - int(name[0])}-s", {"settings": chosen, "inputs": inputs},
                 {"scores": entries})  # fmt: skip


@pytest.fixture
def study(tmp_path: Path) -> FakeStudy:
    made = FakeStudy(tmp_path / "fake")
    made.draw()
    made.train()
    made.score("0", {"paths": "any"}, as_is=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
               finetuned=[0.51, 0.52, 0.53, 0.55, 0.54, 0.56])  # fmt: skip
    made.score("1", {"paths": "one"}, as_is=[0.9, 0.8, 0.7, 0.6, 0.5, None],
               finetuned=[0.52, 0.51, 0.54, None, 0.55, 0.56])  # fmt: skip
    return made


def frames(study: FakeStudy) -> tuple[pd.DataFrame, pd.DataFrame]:
    truths = truths_frame(study.run)
    return truths, scores_frame(study.run, truths)


def test_ground_truth_is_the_mean_over_seeds_if_none_diverged(study):
    truths, scores = frames(study)
    assert len(truths) == 12
    assert truths["truth"].isna().sum() == 1
    assert list(truths["seconds"]) == [2.0] * 12
    mean = scores[(scores["supernet"] == "0") & (scores["how"] == "as_is")]["truth"]
    assert list(mean[:5]) == pytest.approx([0.415, 0.415, 0.435, 0.435, 0.455])
    assert math.isnan(mean.iloc[5])


def test_several_settings_of_a_training_count_by_their_best(study):
    file = "drawn/0000-d/architectures/0000.json"
    study.job(
        "sampled",
        "5000-x",
        {"architecture": file, "canonical_id": "c0", "settings": {"seed": 1, "lr": 2}},
        {"validation": {"logloss": 0.40}, "settings": {"seed": 1}, "seconds": 3.0},
    )
    truths, _ = frames(study)
    row = truths[(truths["canonical_id"] == "c0") & (truths["seed"] == "1")]
    assert (row["truth"].item(), row["seconds"].item()) == (0.40, 5.0)


def test_correlations_in_the_order_of_the_supernets(study):
    scorers = scorers_of(frames(study)[1])
    table = correlations_frame(scorers)
    assert list(zip(table["supernet.paths"], table["how"], strict=True)) == [
        ("any", "as_is"), ("any", "finetuned"), ("one", "as_is"), ("one", "finetuned"),
    ]  # fmt: skip
    assert list(table["subnets"]) == [5, 5, 5, 4]
    assert list(table["left_out"]) == [1, 1, 1, 2]
    # Truth ties 0-1 and 2-3: 8 of 10 pairs are ordered, all as the first score has them.
    tau = 8 / math.sqrt(10 * 8)
    assert table["kendall"][0] == pytest.approx(tau)
    assert table["kendall"][2] == pytest.approx(-tau)
    # 3 and 4 are swapped: 7 agree, 1 does not.
    assert table["kendall"][1] == pytest.approx(6 / math.sqrt(10 * 8))
    assert table["pearson"][0] == pytest.approx(
        float(pearson([5, 6, 7, 8, 9], [0.415, 0.415, 0.435, 0.435, 0.455]))
    )
    assert (table["pearson_low"] <= table["pearson"]).all()
    assert (table["pearson"] <= table["pearson_high"]).all()


def test_differences_are_of_subnets_that_both_have(study):
    table = differences_frame(scorers_of(frames(study)[1]))
    assert list(zip(table["differs"], table["first"], table["second"], table["subnets"],
                    strict=True)) == [
        ("how", "finetuned", "as_is", 5),
        ("how", "finetuned", "as_is", 4),
        ("supernet.paths", "any", "one", 5),
        ("supernet.paths", "any", "one", 4),
    ]  # fmt: skip
    tau = 8 / math.sqrt(10 * 8)
    assert table["kendall"][2] == pytest.approx(2 * tau)
    assert table["kendall"][0] == pytest.approx(-2 / math.sqrt(10 * 8))


def test_supernets_that_differ_in_their_seed_are_one_scorer(study):
    study.score("2", {"paths": "any", "seed": "2"}, as_is=[0.5, 0.6, 0.7, 0.9, 0.8, 1.0])
    study.score("3", {"paths": "any", "seed": "3"}, as_is=[0.9, 0.8, 0.7, 0.6, 0.5, 1.0])
    scorers = [s for s in scorers_of(frames(study)[1]) if s.how == "as_is"]
    # The first has no seed of its own, and is a repetition all the same.
    assert [(s.label, len(s.scores)) for s in scorers] == [("any", 3), ("one", 1)]
    table = correlations_frame(scorers)
    each = np.array([8, 6, -8]) / math.sqrt(80)
    assert table["kendall"][0] == pytest.approx(each.mean())
    assert table["kendall_sd"][0] == pytest.approx(each.std(ddof=1))
    assert math.isnan(table["kendall_sd"][1])


def test_noise_is_what_two_trainings_differ_by(study):
    (_, row), *_ = noise_frame(frames(study)[0]).iterrows()
    assert (row["trainings"], row["subnets"], row["left_out"]) == (2, 5, 1)
    one, two = TRUTH[1][:5], TRUTH[2][:5]
    r = float(pearson(one, two))
    assert row["pearson"] == pytest.approx(r)
    assert row["pearson_attainable"] == pytest.approx(math.sqrt(2 * r / (1 + r)))
    # Each pair differs by 0.01: a variance of 0.00005.
    assert row["noise"] == pytest.approx(math.sqrt(0.00005))
    means = (np.array(one) + two) / 2
    assert row["spread"] == pytest.approx(math.sqrt(means.var(ddof=1) - 0.000025))
    (_, row), *_ = noise_frame(truths_frame(study.run).query("seed == '1'")).iterrows()
    assert math.isnan(row["pearson"])
    assert math.isnan(row["noise"])


def test_choices_know_what_chance_gives(study):
    table = choices_frame(scorers_of(frames(study)[1]))
    assert set(table["k"]) == {1}  # 5 subnets have no best 5
    one = table[(table["supernet.paths"] == "one") & (table["how"] == "as_is")]
    assert one["regret"].item() == pytest.approx(0.04)
    assert one["regret_by_chance"].item() == pytest.approx(np.mean([0, 0, 2, 2, 4]) / 100)


def test_a_study_that_is_not_finished_is_reported_as_far_as_it_is(tmp_path):
    study = FakeStudy(tmp_path / "fake")
    study.draw()
    assert "No supernet has scored 3 subnets" in make_ranking_report(study.run)
    study.train({1: TRUTH[1][:4]})
    study.score("0", {}, as_is=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    text = make_ranking_report(study.run)
    assert "4 subnets of 6 asked for" in text
    assert "2 left out" in text
    assert "how noisy this truth is, is not known" in text
    assert "1.00 [1.00, 1.00]" in text
    assert not (study.run.ranking / "scatter.finetuned.png").exists()


def test_other_runs_are_no_study(tmp_path):
    with pytest.raises(JobError, match="not a study of rank correlation"):
        make_ranking_report(RunFolder(tmp_path))


def test_flags_that_are_there_or_not_are_true_or_false(study):
    study.score("4", {"flag": "--flag"}, as_is=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    study.score("5", {"flag": "--no_flag"}, as_is=[0.5, 0.6, 0.7, 0.9, 0.8, 1.0])
    labels = [scorer.label for scorer in scorers_of(frames(study)[1])]
    assert labels[-2:] == ["flag=true", "flag=false"]


def test_noise_that_hides_every_order_is_said(tmp_path):
    made = FakeStudy(tmp_path / "fake")
    made.draw()
    made.train({1: TRUTH[1], 2: [0.46, 0.41, 0.45, 0.42, 0.44, 0.43]})
    made.score("0", {}, as_is=[0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert "CAUTION: it is not shown that they agree at all" in make_ranking_report(made.run)


def test_a_study_by_accuracy_is_that_by_error_with_its_order_reversed(study):
    expected = choices_frame(scorers_of(frames(study)[1]))
    for file in study.run.path.glob("*/*/result.json"):
        value = json.loads(file.read_text())
        if "validation" in value:  # a training; that which failed has no accuracy
            loss = value["validation"]["logloss"]
            value["validation"] = {"accuracy": 1 - loss if loss < 1 else math.nan}
            value["selection"] = {"metric": "accuracy", "maximize": True}
        for entry in value.get("scores", []):
            for how in ("as_is", "finetuned"):
                score = entry[how]["logloss"]
                entry[how] = {"accuracy": None if score is None else 1 - score}
        file.write_text(json.dumps(value))
    truths, scores = frames(study)
    assert truths["truth"][0] == pytest.approx(0.59)
    assert set(truths["selection"]) == set(scores["selection"]) == {"max accuracy"}
    found = choices_frame(scorers_of(scores))
    pd.testing.assert_frame_equal(found, expected)
    text = make_ranking_report(study.run)
    assert "Accuracy with shared weights against accuracy of training from scratch" in text
    assert "the best true accuracy among the k best by score" in text


def test_settings_with_fewer_subnets_have_no_best_of_many():
    """As while the second of two settings is still being trained."""
    columns = {"setting": "", "how": "as_is", "overlap_by_chance": 0.5, "regret_by_chance": 0.02}
    rows = [
        {"space.dot": "one", "k": 1, "overlap": 1.0, "regret": 0.01},
        {"space.dot": "one", "k": 5, "overlap": 0.4, "regret": 0.005},
        {"space.dot": "two", "k": 1, "overlap": 1.0, "regret": 0.03},
    ]
    text = _choices(pd.DataFrame([{**columns, **row} for row in rows]))
    one, two = text.splitlines()[2:]
    assert "40% (50%)" in one
    assert [cell.strip() for cell in two.split("|")][3:-1] == ["-", "0.03000 (0.02000)", "-"]
