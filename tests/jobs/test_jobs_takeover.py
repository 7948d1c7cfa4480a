"""An engine that requeues by itself starts a second supervisor for the same attempt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnas.files import write_json
from dnas.jobs import Order
from dnas.jobs.processes import process_mark
from dnas.jobs.supervisor import EXIT_SUPERSEDED, supervisor_command
from dnas.runs import JobFolder

Start = Callable[..., subprocess.Popen[bytes]]

SLEEP = "import os, time; print(file=open('runs', 'a')); time.sleep(600)"


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    path = tmp_path / "job"
    path.mkdir()
    return JobFolder(path)


@pytest.fixture
def start(folder: JobFolder) -> Iterator[Start]:
    """Start a supervisor: ``start(program, restart=0)``."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(program: str, restart: int = 0, **settings: Any) -> subprocess.Popen[bytes]:
        Order(
            argv=(sys.executable, "-S", "-c", program),
            variables={},
            cwd=str(folder.path),
            attempt=1,
            heartbeat_s=0.1,
            **settings,
        ).write(folder)
        started.append(subprocess.Popen(supervisor_command(folder, 1, "slurm 7", restart)))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def record(folder: JobFolder) -> dict[str, Any]:
    return dict(json.loads(folder.attempt(1).read_text(encoding="utf-8")))


def of_first_start(**settings: Any) -> dict[str, Any]:
    """What a first start, which ran for 100 seconds, has left."""
    begun = time.time() - 200
    return {
        "state": "running",
        "attempt": 1,
        "engine": "slurm 7",
        "restart": 0,
        "beat": 5,
        "started": begun,
        "beat_time": begun + 100,
        **settings,
    }


@pytest.mark.parametrize(
    "left", [{}, {"state": "ended", "end": "stopped", "seconds": 100.0}], ids=["died", "stopped"]
)
def test_a_requeued_attempt_is_taken_over(
    left: dict[str, Any], folder: JobFolder, start: Start
) -> None:
    write_json(folder.attempt(1), of_first_start(**left))
    assert start("", restart=1).wait(20) == 0
    found = record(folder)
    assert (found["state"], found["end"], found["restart"]) == ("ended", "exited", 1)
    assert found["beat"] > 5
    assert 100 <= found["seconds"] < 120


@pytest.mark.parametrize(
    "left",
    [
        {"restart": 1},
        {"engine": "slurm 8"},
        {"state": "ended", "end": "exited", "exit_code": 1},
        {"state": "ended", "end": "timed_out"},
        {"state": "revoked"},
    ],
    ids=["same start", "another's", "ended by itself", "timed out", "revoked"],
)
def test_any_other_attempt_is_left_alone(
    left: dict[str, Any], folder: JobFolder, start: Start
) -> None:
    before = of_first_start(**left)
    write_json(folder.attempt(1), before)
    assert start("open('runs', 'w')", restart=1).wait(20) == EXIT_SUPERSEDED
    assert record(folder) == before
    assert not (folder.path / "runs").exists()


def test_the_time_of_earlier_starts_counts(folder: JobFolder, start: Start) -> None:
    write_json(folder.attempt(1), of_first_start())
    start(SLEEP, restart=1, timeout_s=50.0).wait(20)
    assert record(folder)["end"] == "timed_out"


def test_a_start_that_was_given_up_for_dead_ends_itself(
    folder: JobFolder, start: Start, eventually: Callable[..., None]
) -> None:
    first = start(SLEEP)
    eventually((folder.path / "runs").exists, "the first start runs")
    second = start(SLEEP, restart=1)
    assert first.wait(20) == 128 + signal.SIGKILL
    assert second.poll() is None
    found = record(folder)
    assert (found["state"], found["restart"], found["pid"]) == ("running", 1, second.pid)


@pytest.mark.parametrize(("asked", "end"), [(True, "stopped"), (False, "exited")])
def test_a_signal_to_all_may_reach_the_job_first(
    asked: bool, end: str, folder: JobFolder, start: Start, eventually: Callable[..., None]
) -> None:
    supervisor = start(SLEEP)
    eventually((folder.path / "runs").exists, "it runs")
    pid = record(folder)["job_pid"]
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: process_mark(pid) is None, "the job has ended")
    if asked:
        os.kill(supervisor.pid, signal.SIGTERM)
    supervisor.wait(20)
    assert (record(folder)["end"], record(folder)["exit_code"]) == (end, -15)
