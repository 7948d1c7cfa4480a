"""The ends of a space in tables, and log losses of classes, of which none is absurd."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import FakeRun

from dnas.reporting import compare, diverged_rows, make_report, results_frame
from dnas.reporting.statistics import population

LOGLOSS = {"metric": "logloss", "maximize": False}


@pytest.fixture
def classes(tmp_path: Path) -> FakeRun:
    """Networks nearly all of which are nearly always right, and a small one that is not."""
    fake = FakeRun(tmp_path / "demo")
    fake.run_status()
    fake.supernet("0", resolved={"cost": "flops"})
    for job, logloss, flops, origin in (
        ("s0", 0.02, 5e5, "most_likely"),
        ("s1", 0.03, 2e5, "draw"),
        ("r0", 0.04, 6e5, "random"),
        ("e0", 0.40, 1e4, "smallest"),
        ("e1", 0.01, 3e6, "largest"),
    ):
        validation = {"logloss": logloss, "accuracy": 1.0 - logloss / 4, "rows": 300.0}
        fake.judged(
            job, LOGLOSS, validation, arch=job, origin=origin, space="images",
            costs={"flops": flops, "params": flops / 10},
        )  # fmt: skip
    return fake


def test_a_loss_of_classes_may_be_many_times_the_others(classes: FakeRun) -> None:
    assert not diverged_rows(results_frame(classes.run)).any()


def test_a_loss_of_clicks_may_not(tmp_path: Path) -> None:
    fake = FakeRun(tmp_path / "demo")
    fake.run_status()
    for job, logloss in (("s0", 0.2), ("s1", 0.21), ("s2", 0.22), ("s3", 4.0)):
        fake.judged(job, LOGLOSS, {"logloss": logloss}, arch=job, origin="draw")
    frame = results_frame(fake.run)
    assert list(frame["job"][diverged_rows(frame)]) == ["s3"]


def test_ends_are_neither_searched_nor_random(classes: FakeRun) -> None:
    frame = results_frame(classes.run).set_index("job")
    assert population(frame).to_dict() == {
        "s0": "searched", "s1": "searched", "r0": "random", "e0": "given", "e1": "given",
    }  # fmt: skip
    found = compare(results_frame(classes.run), "flops")
    assert found is not None
    assert (found.searched.count, found.random.count, found.searched.best) == (2, 1, 0.02)


def test_the_summary_names_them(classes: FakeRun) -> None:
    make_report(classes.run)
    lines = (classes.run.path / "summary.txt").read_text(encoding="utf-8").splitlines()
    (head,) = [line for line in lines if "MMACs" in line]
    assert "embedding" not in head  # no network has one
    for name, loss, mmacs in (
        ("largest id-e1", "0.01000", "1.5"),
        ("smallest id-e0", "0.40000", "0.005"),
    ):
        (line,) = [line for line in lines if line.startswith(f"  {name}")]
        assert loss in line.split()
        assert mmacs in line.split()
