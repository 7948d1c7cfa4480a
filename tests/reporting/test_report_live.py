from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_run import FakeRun

from dnas.cli import status as status_command
from dnas.reporting import status_text
from dnas.reporting.live import last_metrics
from dnas.reporting.progress import fraction_done, last_metric, steps_done
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
    a = fake.job("sampled", "a", state="running", slot=["gpu 1"], started=NOW - 63, attempts=3)
    a.metrics.write_text(
        '{"event": "interval", "step": 4200, "epoch": 1.25, "loss": 0.461234}\n{"event": "int'
    )
    b = fake.job("sampled", "b", state="running", slot=["cpu 0"], started=NOW - 5, attempts=2)
    b.metrics.write_text('{"event": "validation", "epoch": 2.0, "validation": {"logloss": 0.45}}\n')
    for i in range(3):
        fake.job("sampled", f"q{i}", state="queued", reason="retry 1 of 2; out of memory")
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
        "3 jobs queued again: retry 1 of 2; out of memory",
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


def test_status_says_what_the_manager_and_the_jobs_say(fake: FakeRun) -> None:
    fake.run_status(
        "running",
        updated=NOW - 12,
        seconds_left=212.0,
        slots=[
            {"slot": "gpu 0", "load": 1.0},
            {"slot": "gpu 1", "load": 0.25},
            {"slot": "cpu 0", "load": 0.0},
        ],
        running=[
            {"kind": "sampled", "job": "b", "waits_for": "its turn (Priority)"},
            {"kind": "sampled", "job": "a", "waits_for": ""},
        ],
        waiting=[{"for": "host memory: 500 MiB available", "jobs": 7}],
        reason="",
    )
    a = fake.job("sampled", "a", state="running", slot=["gpu 0", "gpu 1"], started=NOW - 63)
    a.metrics.write_text('{"loss": 9}\n')
    a.progress.write_text(
        '{"step": 1999, "total_steps": 2000, "phase": "theta", "metric": {"loss": 0.461234}}'
    )
    fake.job("sampled", "b", state="running", slot=["slurm"])
    fake.sampled("c", 0.45, started=0.0, ended=60.0)
    for state in ("timed_out", "lost", "cancelled"):
        fake.job("sampled", state, state=state, reason=f"was {state}")
    lines = status_text(fake.run, now=NOW, worked_on=True).splitlines()
    assert lines == [
        "experiment criteo_demo: running, stage sampled, about 3 min 20 s left, updated 12 s ago",
        "supernet  no jobs yet",
        "sampled   6 jobs: 2 running, 1 succeeded, 1 timed out, 1 lost, 1 cancelled",
        "          1 min 0 s a job, 2 at a time",
        "devices   2 of 3 taken: gpu 0, gpu 1 (25 %)",
        "running",
        "  sampled/a  gpu 0 + gpu 1  1 min 3 s  99 %  1,999/2,000 theta loss 0.46123",
        "  sampled/b          slurm                   waits for its turn (Priority)",
        "7 jobs waiting: host memory: 500 MiB available",
        "2 jobs without a result",
        "  sampled/lost lost: was lost",
        "    log sampled/lost/stdout.log",
        "  sampled/timed_out timed out: was timed_out",
        "    log sampled/timed_out/stdout.log",
    ]


def test_status_of_a_run_that_nobody_works_on(fake: FakeRun) -> None:
    fake.run_status(
        "running",
        updated=NOW - 12,
        seconds_left=212.0,
        slots=[{"slot": "gpu 0", "load": 1.0}],
        waiting=[{"for": "for a free device", "jobs": 1}],
    )
    fake.job("sampled", "a", state="running", started=NOW - 63)
    fake.job("sampled", "b", state="queued")
    advice = "no manager works on this run; start the same command again to go on"
    lines = status_text(fake.run, now=NOW, worked_on=False).splitlines()
    assert lines == [
        "experiment criteo_demo: running, stage sampled, updated 12 s ago",
        advice,
        "supernet  no jobs yet",
        "sampled   2 jobs: 1 running, 1 queued",
        "running",
        "  sampled/a  gpu 0  1 min 3 s",
    ]
    for worked_on in (True, None):
        assert advice not in status_text(fake.run, now=NOW, worked_on=worked_on)


def test_nobody_has_to_work_on_a_run_that_is_over(fake: FakeRun) -> None:
    fake.run_status("failed", reason="stopped by SIGINT", seconds_left=3.0)
    fake.sampled("a", 0.45)
    fake.job("sampled", "b", state="cancelled")
    text = status_text(fake.run, now=NOW, worked_on=False)
    assert "no manager" not in text
    assert "left" not in text
    assert "\nreason    stopped by SIGINT\n" in text
    assert "without a result" not in text


def test_why_no_more_jobs_are_started_is_told_in_full_and_once(fake: FakeRun) -> None:
    reason = "5 jobs in a row failed for the same reason: no data. " + "Mend the cause. " * 9
    fake.run_status("running", reason=reason, waiting=[{"for": reason, "jobs": 3}])
    lines = status_text(fake.run, now=1e9, worked_on=True).splitlines()
    assert " ".join(line[10:] for line in lines[1:4]) == reason.strip()
    assert not any("waiting" in line for line in lines)
    fake.run_status("running", reason="word " * 200)
    lines = status_text(fake.run, now=1e9).splitlines()
    assert lines[3].endswith("…")
    assert lines[4].startswith("supernet")


GARBAGE = ["", "{", "[]", "3", "null", "\0\0", '"text"', '{"step": {}}', '{"a": NaN}']


@pytest.mark.parametrize("text", GARBAGE)
@pytest.mark.parametrize("name", ["job", "status", "progress", "metrics", "result"])
def test_a_damaged_file_of_a_job_never_ends_in_a_trace(fake: FakeRun, name: str, text: str) -> None:
    for state in ("running", "queued", "succeeded", "lost"):
        folder = fake.job("sampled", state, state=state, started=NOW)
        getattr(folder, name).write_text(text)
    assert "4 jobs" in status_text(fake.run, now=NOW, worked_on=True)


@pytest.mark.parametrize("value", [None, 3, "x", [], [3], {}, [{}], [{"jobs": "x"}], True])
def test_odd_values_never_end_in_a_trace(fake: FakeRun, value: object) -> None:
    names = ("state", "stage", "reason", "slots", "running", "waiting", "seconds_left", "updated")
    for name in names:
        fake.run_status("running", **{n: value for n in names if n == name and n != "state"})
        if name == "state":
            fake.run.status.write_text(json.dumps({"state": value}))
        assert status_text(fake.run, now=NOW, worked_on=True)
    slots = [{"slot": value, "load": value}, {"load": 1}, {"slot": "gpu 0", "load": 2}]
    waiting = [{"for": value, "jobs": value}, {"jobs": 1}]
    running = [{"kind": value, "job": value, "waits_for": value}]
    fake.run_status("running", slots=slots, waiting=waiting, running=running, updated=NOW)
    job = fake.job(
        "sampled", "0", state="running", slot=value, started=value, attempts=value, reason=value
    )
    for field in ("step", "total_steps", "phase", "metric"):
        whole = {"step": 1, "total_steps": 2, "phase": "p", "metric": {"loss": value}}
        job.progress.write_text(json.dumps(whole | {field: value}))
        assert "1 job: 1 running" in status_text(fake.run, now=NOW, worked_on=True)


def test_progress_in_words() -> None:
    whole = {"step": 1200, "total_steps": 2400, "phase": "weights", "metric": {"a": 0.5, "b": 3}}
    assert (fraction_done(whole), steps_done(whole)) == (0.5, "1,200/2,400 weights")
    assert last_metric(whole) == "a 0.5 b 3"
    assert fraction_done(whole | {"step": 2401}) == 1.0
    assert steps_done({"step": 0, "total_steps": 1}) == "0/1"
    for broken in ({}, {"step": 1}, {"step": 1, "total_steps": 0}, {"step": -1, "total_steps": 2}):
        assert (fraction_done(broken), steps_done(broken)) == (None, "")
    assert last_metric({"metric": {"a": math.nan, "b": True, "c": 1e-9}}) == "c 1e-09"


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
    for words in ([str(tmp_path)], [str(tmp_path), "--watch"]):
        assert status_command.main(words) == 2
        assert "not a run folder" in capsys.readouterr().err


def test_watching_ends_with_the_run(
    fake: FakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.run_status("running")
    job = fake.job("sampled", "0", state="running", started=1.0)
    answers = iter([True, None, False])
    monkeypatch.setattr(status_command, "is_worked_on", lambda run: next(answers))
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            job.status.write_text('{"state": "timed_out"}')
            fake.run_status("failed")

    monkeypatch.setattr(status_command, "time", SimpleNamespace(sleep=sleep))
    assert status_command.main([str(fake.run.path), "--watch"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    heads = [line for line in out.splitlines() if line.startswith("experiment")]
    assert [head.split(",")[0] for head in heads] == ["experiment criteo_demo: running"] * 2 + [
        "experiment criteo_demo: failed"
    ]
    assert "1 timed out" in out.split("\n\n")[-2]
    assert waits == [10.0, 10.0]


def test_watching_can_be_left(
    fake: FakeRun, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def leave(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(status_command, "is_worked_on", lambda run: True)
    monkeypatch.setattr(status_command, "time", SimpleNamespace(sleep=leave))
    assert status_command.main([str(fake.run.path), "--watch"]) == 130
    assert "criteo_demo" in capsys.readouterr().out


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
