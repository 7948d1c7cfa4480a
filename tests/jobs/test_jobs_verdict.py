"""How the end of a job is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dnas.jobs.outcome import duration, one_line
from dnas.jobs.verdict import Ending, Evidence, Verdict, judge, log_tail


def end(
    tmp_path: Path,
    exit_code: int | None,
    result: str | None,
    log: str = "",
    *,
    engine: str = "",
    **record: object,
) -> Verdict:
    """The verdict on an attempt whose supervisor wrote its end, unless ``state`` says otherwise."""
    (tmp_path / "log").write_text(log)
    (tmp_path / "result.json").unlink(missing_ok=True)
    if result is not None:
        (tmp_path / "result.json").write_text(result)
    record = {"state": "ended", "end": "exited", "exit_code": exit_code, "seconds": 7.2} | record
    return judge(
        Evidence(
            record=record,
            result=tmp_path / "result.json",
            log=tmp_path / "log",
            engine_word=engine,
            engine_reason=engine and f"the engine says {engine}",
        )
    )


FAILED = '{"status": "failed", "error": {"type": "DataError", "message": "no column C3"}}'
USER_ERROR = '{"status": "failed", "user_error": true, "error": "no column"}'
RUNTIME = '{"status": "failed", "error": {"type": "RuntimeError", "message": "CUDA out of memory"}}'


@pytest.mark.parametrize(
    ("exit_code", "result", "ending", "reason"),
    [
        (0, '{"status": "succeeded"}', "succeeded", ""),
        (0, "{}", "succeeded", ""),
        (0, None, "crashed", "exited 0 but wrote no result file at "),
        (0, '{"status": "succ', "crashed", "unusable: not whole JSON"),
        (0, "", "crashed", "unusable: not whole JSON"),
        (0, "[1]", "crashed", "JSON of type list"),
        (0, '{"status": "fine"}', "crashed", "status 'fine' is none of succeeded"),
        (0, FAILED, "crashed", "exited 0: DataError: no column C3"),
        (2, FAILED, "user_error", "exited 2: DataError: no column C3"),
        (1, USER_ERROR, "user_error", "exited 1: no column"),
        (1, "{}", "crashed", "exited 1"),
        (-9, None, "lost", "killed by SIGKILL from outside"),
        (-15, None, "lost", "killed by SIGTERM from outside"),
        (137, None, "lost", "exited 137 from outside"),
        (-11, None, "crashed", "killed by SIGSEGV"),
        (-9, FAILED, "crashed", "killed by SIGKILL: DataError"),
        (3, None, "out_of_memory", "out of memory (exited 3)"),
        (3, "{}", "out_of_memory", "out of memory (exited 3)"),
        (0, '{"status": "out_of_memory"}', "out_of_memory", "out of memory"),
        (1, '{"status": "out_of_memory"}', "out_of_memory", "out of memory"),
        (1, RUNTIME, "crashed", "RuntimeError: CUDA out of memory"),
        (4, None, "diverged", "diverged (exited 4)"),
        (0, '{"status": "diverged"}', "diverged", "diverged"),
        (75, None, "preempted", "stopped for another attempt (exited 75)"),
        (75, '{"status": "preempted"}', "preempted", "stopped for another attempt"),
        (1, '{"status": "preempted"}', "preempted", "stopped for another attempt (exited 1)"),
    ],
)
def test_exit_code_and_result_decide(
    tmp_path: Path, exit_code: int | None, result: str | None, ending: str, reason: str
) -> None:
    verdict = end(tmp_path, exit_code, result, "torch.OutOfMemoryError: out of memory\n")
    assert verdict.ending == ending
    assert reason in verdict.reason
    assert (verdict.cause != "") == (ending in ("crashed", "user_error"))


@pytest.mark.parametrize(
    ("exit_code", "record", "ending", "reason"),
    [
        (-9, {"out_of_memory_kills": 1}, "out_of_memory", "by the kernel: host memory was full"),
        (137, {"out_of_memory_kills": 2}, "out_of_memory", "by the kernel"),
        (1, {"out_of_memory_kills": 1}, "crashed", "exited 1"),
        (-15, {"end": "timed_out"}, "timed_out", "its time was over after 7 s"),
        (75, {"end": "timed_out"}, "timed_out", "its time was over after 7 s (exited 75)"),
        (-15, {"end": "stopped"}, "preempted", "stopped for another attempt (killed by SIGTERM)"),
        (1, {"end": "stopped"}, "preempted", "stopped for another attempt (exited 1)"),
        (1, {"free_disk_bytes": 4096}, "disk_full", "the disk was full (exited 1)"),
        (None, {"start_error": "no such file: x"}, "crashed", "could not be started: no such"),
        (None, {"state": "running"}, "lost", "left neither result nor word"),
        (None, {"state": "revoked"}, "preempted", "taken back before it began"),
    ],
)
def test_what_the_supervisor_and_the_kernel_say(
    tmp_path: Path, exit_code: int | None, record: dict, ending: str, reason: str
) -> None:
    verdict = end(tmp_path, exit_code, None, **record)
    assert verdict.ending == ending
    assert reason in verdict.reason


def test_a_full_disk_is_known_by_the_log(tmp_path: Path) -> None:
    log = "OSError: [Errno 28] No space left on device\n"
    assert end(tmp_path, 1, None, log, free_disk_bytes=1 << 30).ending is Ending.DISK_FULL


@pytest.mark.parametrize("engine", ["cancelled", "out_of_memory", "timed_out", "lost"])
def test_the_engines_word_counts_where_the_job_left_none(tmp_path: Path, engine: str) -> None:
    verdict = end(tmp_path, None, None, state="running", engine=engine)
    assert (verdict.ending, verdict.reason) == (engine, f"the engine says {engine}")
    # scancel lets a job save a checkpoint; that it did does not undo the cancelling.
    saved = end(tmp_path, 75, '{"status": "preempted"}', end="stopped", engine="cancelled")
    assert saved.ending is Ending.CANCELLED
    # A result that is whole counts more than anything said about its process.
    assert end(tmp_path, None, "{}", state="running", engine=engine).ending is Ending.SUCCEEDED


TORCHRUN = """step 1
ValueError: bad flag
W1121 10:43:10.761000 26476 torch/distributed/elastic/multiprocessing/api.py:1028] Sending SIGTERM
Traceback (most recent call last):
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
Failures:
[1]:
  exitcode  : -15 (pid: 26483)  (SIGTERM)
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  exitcode  : {code} (pid: 26482)
============================================================
"""


@pytest.mark.parametrize(
    ("code", "ending"), [(2, "user_error"), (3, "out_of_memory"), (-9, "lost"), (1, "crashed")]
)
def test_what_torchrun_reports_of_its_workers_counts(
    tmp_path: Path, code: int, ending: str
) -> None:
    verdict = end(tmp_path, 1, None, TORCHRUN.format(code=code))
    assert verdict.ending == ending
    assert one_line(verdict.reason).endswith("ValueError: bad flag")


def test_a_result_counts_though_the_supervisor_died(tmp_path: Path) -> None:
    assert end(tmp_path, None, "{}", state="running").ending is Ending.SUCCEEDED
    said = end(tmp_path, None, '{"status": "diverged"}', state="running")
    assert said.ending is Ending.DIVERGED


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
    assert cause(1, "E: a") != cause(-11, "E: a")
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
