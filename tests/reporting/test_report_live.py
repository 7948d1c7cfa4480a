from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import FakeRun

from dnas.cli import status as status_command
from dnas.reporting import status_text
from dnas.reporting.live import last_metrics
from dnas.reporting.text import columns, compact, cut, duration, fixed, plural, shorten

NOW = 1_000_000.0


@pytest.fixture
def fake(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "demo")


def test_status_of_a_run_in_progress(fake: FakeRun) -> None:
    fake.run_status("running", updated=NOW - 12)
    fake.supernet("0", started=NOW - 500, ended=NOW - 400)
    for i, seconds in enumerate((90, 100, 400)):
        fake.job("sampled", f"d{i}", result={"status": "succeeded"}, started=0.0, ended=seconds)
    a = fake.job("sampled", "a", state="running", slot="gpu 1", started=NOW - 63, attempts=3)
    a.metrics.write_text(
        '{"event": "interval", "step": 4200, "epoch": 1.25, "loss": 0.461234}\n{"event": "int'
    )
    b = fake.job("sampled", "b", state="running", slot="cpu 0", started=NOW - 5, attempts=2)
    b.metrics.write_text('{"event": "validation", "epoch": 2.0, "validation": {"logloss": 0.45}}\n')
    for i in range(3):
        fake.job("sampled", f"q{i}", state="queued", reason="no free slot")
    fake.job("sampled", "f", state="failed", reason="exit code 1\nmore")
    lines = status_text(fake.run, now=NOW).splitlines()
    assert lines == [
        "experiment criteo_demo: running, stage sampled, updated 12 s ago",
        "supernet  1 job: 1 succeeded",
        "sampled   9 jobs: 2 running, 3 queued, 3 succeeded, 1 failed",
        "          1 min 40 s a job, 2 at a time: about 3 min 20 s left",
        "running",
        "  sampled/a  gpu 1  1 min 3 s  attempt 3  step 4,200 epoch 1.25 loss 0.46123",
        "  sampled/b  cpu 0        5 s  attempt 2  epoch 2 validation logloss 0.45",
        "3 jobs waiting: no free slot",
        "1 job without a result",
        "  sampled/f failed: exit code 1",
        "    log sampled/f/stdout.log",
    ]


def test_status_of_a_run_that_has_not_begun(fake: FakeRun) -> None:
    lines = status_text(fake.run, now=NOW).splitlines()
    assert lines == [
        "experiment criteo_demo: state unknown",
        "supernet  no jobs yet",
        "sampled   no jobs yet",
    ]


def test_status_lines_are_narrow_and_few(fake: FakeRun) -> None:
    for i in range(60):
        job = fake.job("sampled", f"job{i}", state="running", started=NOW - i)
        job.metrics.write_text('{"loss": 0.5, "' + "x" * 200 + '": 1}\n')
        fake.job("sampled", f"bad{i}", state="failed", reason=f"reason {i} " + "y" * 200)
    lines = status_text(fake.run, now=NOW).splitlines()
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 40
    assert "  and 44 more" in lines


def test_status_survives_damaged_files(fake: FakeRun) -> None:
    fake.run.status.write_text('{"updated": NaN, "state": 3}', encoding="utf-8")
    assert status_text(fake.run).startswith("experiment criteo_demo: 3\n")
    fake.run.status.write_text("{", encoding="utf-8")
    job = fake.job("sampled", "0", state="running", started="yesterday", slot=None)
    job.metrics.write_bytes(b"\xff\xfe\n")
    torn = fake.job("sampled", "1", state="running")
    torn.status.write_text("{", encoding="utf-8")
    text = status_text(fake.run, now=NOW)
    assert "2 jobs: 1 running, 1 queued" in text


def test_last_metrics_reads_the_end_of_a_long_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert last_metrics(path) is None
    path.write_text("".join(f'{{"step": {i}}}\n' for i in range(50_000)) + '{"step": 5')
    assert last_metrics(path) == {"step": 49_999}
    path.write_text("")
    assert last_metrics(path) is None


def test_command(fake: FakeRun, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fake.supernet("0")
    assert status_command.main([str(fake.run.path)]) == 0
    assert "1 succeeded" in capsys.readouterr().out
    assert status_command.main([str(tmp_path)]) == 2
    assert "not a run folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1460, "1,460"),
        (9999, "9,999"),
        (10_000, "10 k"),
        (9999.9, "10 k"),
        (1.24e6, "1.24 M"),
        (999_960, "1 M"),
        (999_940, "999.9 k"),
        (12_937_000, "12.94 M"),
        (79.54, "79.54"),
        (0.00123456, "0.001235"),
        (0, "0"),
        (-25_000, "-25 k"),
        (3.3e9, "3.3 G"),
        (2e13, "20 T"),
        (float("nan"), "-"),
        (float("inf"), "inf"),
    ],
)
def test_compact(value: float, text: str) -> None:
    assert compact(value) == text


def test_small_text_functions() -> None:
    assert [duration(s) for s in (-1, 8.4, 303, 4321, 183_600)] == [
        "0 s", "8 s", "5 min 3 s", "1 h 12 min", "2 d 3 h",
    ]  # fmt: skip
    assert shorten("abcdefghij", 10) == "abcdefghij"
    assert shorten("abcdefghijk", 6) == "abc…jk"
    assert shorten("a \n b", 9) == "a b"
    assert len(shorten("x" * 50, 7)) == 7
    assert cut("abcdef", 4) == "abc…"
    assert fixed(0.4451) == "0.44510"
    assert fixed(float("nan")) == "-"
    assert (plural(1, "job"), plural(0, "job")) == ("1 job", "0 jobs")
    assert columns([["a", "1"], ["bb", "22"]]) == ["  a    1", "  bb  22"]
