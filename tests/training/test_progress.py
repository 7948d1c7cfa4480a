"""The progress file: whole, at most once a second, and never the end of a job."""

from __future__ import annotations

import json
import math

import pytest

from dnas.training import progress
from dnas.training.progress import Progress


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """What time it is."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress.time, "time", lambda: 1e9 + now[0])
    return now


def test_it_is_written_once_a_second_and_at_the_end(tmp_path, clock):
    path = tmp_path / "progress.json"
    seen = []
    with Progress("work", 100, 10, file=path) as shown:
        for step in range(12):
            shown.metric("loss", step / 8)
            shown.advance("train", step / 4)
            seen.append(json.loads(path.read_text())["step"])
            clock[0] += 0.25
        shown.metric("auc", None)
        shown.metric("auc", math.inf)
    assert seen == [11] * 4 + [15] * 4 + [19] * 4
    assert json.loads(path.read_text()) == {
        "step": 22, "total_steps": 100, "phase": "train", "epoch": 2.75, "metric": {"loss": 1.375},
        "time": 1e9 + 103.0,
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["progress.json"]


def test_work_that_was_done_before_is_not_reported_again(tmp_path):
    with Progress("work", 3, 3, file=tmp_path / "progress.json"):
        pass
    assert not (tmp_path / "progress.json").exists()


def test_a_disk_that_takes_no_more_does_not_end_the_work(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(progress, "write_json", full)
    with Progress("work", 1, file=tmp_path / "progress.json") as shown:
        shown.advance("train", 1.0)
    assert not list(tmp_path.iterdir())
