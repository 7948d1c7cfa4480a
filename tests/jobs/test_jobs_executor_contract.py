"""The contract of executors over those that need nothing installed, and what is theirs alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dnas.jobs import DebugExecutor, Executor, LocalExecutor, Order
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE, read_attempt
from dnas.jobs.processes import process_mark
from dnas.runs import JobFolder
from dnas.testing.executors import ExecutorContract


class TestLocalExecutor(ExecutorContract):
    @pytest.fixture
    def executor(self) -> Executor:
        return LocalExecutor()


def call(folder: JobFolder, order: Order) -> int:
    """A function in the place of the program, which here runs the program all the same."""
    with open(folder.log, "a", encoding="utf-8") as log:
        return subprocess.call(
            order.argv, env={**os.environ, **order.variables}, cwd=order.cwd, stdout=log
        )


class TestDebugExecutor(ExecutorContract):
    in_process = True

    @pytest.fixture
    def executor(self) -> Executor:
        return DebugExecutor(call)

    @pytest.fixture
    def later_executor(self) -> Executor:
        return DebugExecutor(call)


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., tuple[JobFolder, Order]]:
    """Make a job of a Python program."""

    def make(program: str) -> tuple[JobFolder, Order]:
        folder = JobFolder(tmp_path / "job")
        folder.path.mkdir()
        order = Order(
            argv=(sys.executable, "-S", "-c", program),
            variables={JOB_FOLDER_VARIABLE: str(folder.path), JOB_ATTEMPT_VARIABLE: "1"},
            cwd=str(folder.path),
            attempt=1,
            heartbeat_s=0.1,
        )
        order.write(folder)
        return folder, order

    return make


SLEEP = "import time; open('runs', 'w'); time.sleep(600)"


def test_a_call_that_raises_is_a_crash(job: Callable[..., tuple[JobFolder, Order]]) -> None:
    def broken(folder: JobFolder, order: Order) -> int:
        raise RuntimeError("no")

    executor = DebugExecutor(broken)
    folder, order = job("")
    handles = executor.submit([(folder, order)])
    assert executor.poll(1) == handles
    assert (read_attempt(folder.attempt(1)) or {})["exit_code"] == 1
    assert "RuntimeError: no" in folder.log.read_text()


def test_it_works_without_what_only_linux_has(
    job: Callable[..., tuple[JobFolder, Order]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    executor = LocalExecutor()
    handles = executor.submit([job("import time; time.sleep(0.2)")])
    assert executor.poll(20) == handles


def test_a_process_with_another_start_time_is_not_adopted(
    job: Callable[..., tuple[JobFolder, Order]],
) -> None:
    first, second = LocalExecutor(), LocalExecutor()
    folder, order = job(SLEEP)
    [handle] = first.submit([(folder, order)])
    assert second.adopt(folder, 1, {**handle.token, "mark": "another"}) is None
    first.cancel(handle, kill=True)
    assert first.poll(20) == [handle]


def test_the_job_dies_with_its_supervisor(
    job: Callable[..., tuple[JobFolder, Order]], eventually: Callable[..., None]
) -> None:
    executor = LocalExecutor()
    folder, order = job(SLEEP)
    [handle] = executor.submit([(folder, order)])
    eventually(lambda: (read_attempt(folder.attempt(1)) or {}).get("job_pid"), "the job's pid")
    pid = (read_attempt(folder.attempt(1)) or {})["job_pid"]
    assert handle.pid is not None
    os.kill(handle.pid, 9)
    assert executor.poll(20) == [handle]
    assert (read_attempt(folder.attempt(1)) or {})["state"] == "running"  # nobody wrote the end
    eventually(lambda: process_mark(pid) is None, "the job has died")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_what_a_dead_supervisor_left_is_found_by_its_environment(
    job: Callable[..., tuple[JobFolder, Order]], eventually: Callable[..., None]
) -> None:
    folder, order = job(SLEEP)
    environment = {**os.environ, **order.variables}
    left = subprocess.Popen(order.argv, env=environment, cwd=order.cwd)
    other = subprocess.Popen(
        order.argv, env={**environment, JOB_ATTEMPT_VARIABLE: "2"}, cwd=order.cwd
    )
    # The kernel shows a new program's environment a moment after it says that it runs.
    eventually((folder.path / "runs").exists, "it runs")
    LocalExecutor().clear(folder, 1, {})
    assert left.wait(20) == -9
    assert other.poll() is None
    other.kill()
    other.wait()


def test_marks_tell_processes_apart() -> None:
    assert process_mark(os.getpid()) == process_mark(os.getpid())
    assert process_mark(os.getpid()) != process_mark(1)
    assert process_mark(2**22 + 1) is None
