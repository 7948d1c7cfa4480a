"""How the end of a job is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnas.jobs.outcome import duration, one_line
from dnas.jobs.verdict import Verdict, judge, log_tail


def end(tmp_path: Path, exit_code: int | None, result: str | None, log: str = "") -> Verdict:
    (tmp_path / "log").write_text(log)
    if result is not None:
        (tmp_path / "result.json").write_text(result)
    return judge(exit_code, tmp_path / "result.json", tmp_path / "log")


FAILED = '{"status": "failed", "error": {"type": "DataError", "message": "no column C3"}}'
RUNTIME = '{"status": "failed", "error": {"type": "RuntimeError", "message": "CUDA out of memory"}}'


@pytest.mark.parametrize(
    ("exit_code", "result", "outcome", "reason"),
    [
        (0, '{"status": "succeeded"}', "succeeded", ""),
        (0, "{}", "succeeded", ""),
        (None, "{}", "succeeded", ""),
        (0, None, "failed", "exited 0 but wrote no result file at "),
        (None, None, "failed", "ended (exit code not known) but wrote no result file"),
        (0, '{"status": "succ', "failed", "unusable: not whole JSON"),
        (0, "", "failed", "unusable: not whole JSON"),
        (0, "[1]", "failed", "JSON of type list"),
        (0, '{"status": "fine"}', "failed", "status 'fine' is none of succeeded"),
        (0, FAILED, "failed", "exited 0: DataError: no column C3"),
        (2, FAILED, "failed", "exited 2: DataError: no column C3"),
        (1, "{}", "failed", "exited 1"),
        (-9, "{}", "failed", "killed by SIGKILL"),
        (-11, None, "failed", "killed by SIGSEGV"),
        (3, None, "out_of_memory", "out of memory (exited 3)"),
        (3, "{}", "out_of_memory", "out of memory (exited 3)"),
        (0, '{"status": "out_of_memory"}', "out_of_memory", "out of memory"),
        (1, '{"status": "out_of_memory"}', "out_of_memory", "out of memory"),
        (1, RUNTIME, "failed", "RuntimeError: CUDA out of memory"),
        (3, RUNTIME, "failed", "RuntimeError: CUDA out of memory"),
        (4, None, "diverged", "diverged (exited 4)"),
        (0, '{"status": "diverged"}', "diverged", "diverged"),
        (75, None, "preempted", "stopped for another attempt (exited 75)"),
        (75, '{"status": "preempted"}', "preempted", "stopped for another attempt"),
    ],
)
def test_exit_code_and_result_decide(
    tmp_path: Path, exit_code: int | None, result: str | None, outcome: str, reason: str
) -> None:
    verdict = end(tmp_path, exit_code, result, "torch.OutOfMemoryError: out of memory\n")
    assert verdict.outcome == outcome
    assert reason in verdict.reason
    assert (verdict.cause != "") == (outcome == "failed")
    assert verdict.user_error == (exit_code == 2)


def test_a_reason_ends_with_the_log_and_fits_a_line(tmp_path: Path) -> None:
    verdict = end(tmp_path, 1, None, "step 1\rstep 2\n\nTraceback\n  File x\nValueError: bad\n\n")
    assert verdict.reason.splitlines() == [
        "exited 1; last lines of its log:",
        "  step 1", "  step 2", "  Traceback", "    File x", "  ValueError: bad",
    ]  # fmt: skip
    assert one_line(verdict.reason) == "exited 1: ValueError: bad"
    assert one_line("") == ""


def test_only_the_last_attempts_log_counts(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\n" + b"x" * 100_000 + b"\nnew \xff\n")
    assert log_tail(log, 100_005) == ["new \ufffd"]
    assert len(log_tail(log)[0]) == 300
    assert log_tail(tmp_path / "gone") == []


def test_the_same_defect_has_the_same_cause(tmp_path: Path) -> None:
    def cause(exit_code: int, log: str) -> str:
        return end(tmp_path, exit_code, None, log).cause

    assert cause(1, "E: at 0x7f3a pid 12") == cause(1, "E: at 0x99 pid 7")
    assert cause(1, "E: a") != cause(1, "E: b")
    assert cause(1, "E: a") != cause(-9, "E: a")
    one, two = "/r/sampled/0001-lr=1-ab12cd34/x.json", "/r/sampled/0002-lr=2-00ffaa11/x.json"
    assert cause(2, f"cannot write {one}") == cause(2, f"cannot write {two}")
    # A refused value says nothing about another value.
    assert cause(2, "lr=-1 is negative") != cause(2, "lr=-2 is negative")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (42.7, "42 s"), (185, "3:05"), (7800, "2:10:00")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
