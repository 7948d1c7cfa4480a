"""The summary shows the cost targets of searches beside what they gave."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import FakeRun

from dnas.files import write_json
from dnas.reporting import make_report
from dnas.reporting.records import read_run
from dnas.reporting.targets import target_lines
from dnas.runs import JobFolder

HEAD = "cost targets of searches (of the mean over draws, not of each architecture)"


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    found = FakeRun(tmp_path / "demo")
    found.run_status()
    return found


def searched(fake: FakeRun, job: str, *targets: str, **settings: object) -> JobFolder:
    """A search that drew 300 and 310 params at its end, and 900 before it."""
    folder = fake.supernet(job, resolved={"cost_target": list(targets), **settings})
    sampled = [
        ("draw", 5, 900), ("most_likely", 5, 800), ("draw", 10, 300), ("draw", 10, 310),
        ("most_likely", 10, 297), ("random", 10, 50),
    ]  # fmt: skip
    names = []
    for place, (kind, step, params) in enumerate(sampled):
        names.append(f"architectures/{place:04d}.json")
        costs = {"params": params, "flops": 4e6}
        content = {"costs": costs, "provenance": {"kind": kind, "step": step}}
        write_json(folder.path / names[-1], content)
    result = {"status": "succeeded", "kind": "supernet", "architectures": names}
    settings = {"search_space": "emb_card", "cost_target": list(targets), **settings}
    write_json(folder.result, {**result, "settings": settings})
    return folder


def lines(fake: FakeRun) -> list[str]:
    return target_lines(read_run(fake.run))


def test_each_target_has_a_line_with_the_last_draws(fake: FakeRun) -> None:
    searched(fake, "0", "params=250.0", "flops=4e6")
    assert lines(fake) == [
        HEAD,
        "  supernet/0: target params=250: 2 drawn 305 in the mean, most likely 297",
        "  supernet/0: target flops=4 M: 2 drawn 4 M in the mean, most likely 4 M",
    ]
    assert set(lines(fake)) <= set(make_report(fake.run).splitlines())


def test_an_upper_bound_is_shown_as_one(fake: FakeRun) -> None:
    searched(fake, "0", "params=400.0", cost_at_most=True)
    assert lines(fake)[1].startswith("  supernet/0: target params<=400: ")


def test_a_search_without_targets_has_no_line(fake: FakeRun) -> None:
    searched(fake, "0")
    fake.supernet("1", resolved={"cost": "params", "cost_target": None})
    assert lines(fake) == []


def test_what_cannot_be_read_is_left_out(fake: FakeRun) -> None:
    folder = searched(fake, "0", "params=250.0", "nonsense", "flops=much")
    (folder.path / "architectures" / "0003.json").write_text("{", encoding="utf-8")
    (folder.path / "architectures" / "0004.json").unlink()
    assert lines(fake)[1:] == ["  supernet/0: target params=250: 1 drawn 300 in the mean"]
    for path in (folder.path / "architectures").iterdir():
        path.unlink()
    assert lines(fake)[1:] == [
        "  supernet/0: target params=250: no costs in its architecture files"
    ]


def test_many_targets_are_counted(fake: FakeRun) -> None:
    for job in range(8):
        searched(fake, str(job), "params=250.0")
    assert len(lines(fake)) == 8
    assert lines(fake)[-1] == "  and 2 targets more"
