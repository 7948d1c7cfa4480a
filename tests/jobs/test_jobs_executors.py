"""The contract of executors, over each of them, and what only real processes can show."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dnas.jobs.executors import DebugExecutor, Executor, Handle, LocalExecutor, Order
from dnas.jobs.processes import find_by_variable, process_mark


def run_inside(order: Order) -> int:
    """What the real program does, for the executor that has no processes."""
    with open(order.log, "a", encoding="utf-8") as log:
        log.write(f"{order.argv[-1]} {order.env['COLOUR']}\n")
    return 7


PROGRAM = "import os, sys; print(sys.argv[-1], os.environ['COLOUR']); sys.exit(7)"


def order(folder: Path, program: str = PROGRAM, *words: str) -> Order:
    return Order(
        argv=(sys.executable, "-S", "-c", program, *words),
        env={**os.environ, "COLOUR": "blue"},
        log=folder / "stdout.log",
        folder=folder,
    )


def wait_for(executor: Executor, handle: Handle) -> None:
    deadline = time.monotonic() + 20
    while handle not in executor.wait(0.5):
        assert time.monotonic() < deadline, "the job did not end"


@pytest.mark.parametrize("make", [LocalExecutor, lambda: DebugExecutor(run_inside)])
def test_contract(make: Callable[[], Executor], tmp_path: Path) -> None:
    executor = make()
    assert executor.wait(0) == []
    (tmp_path / "stdout.log").write_text("before\n")
    handle = executor.start(order(tmp_path, PROGRAM, "a 'b' $c"))
    wait_for(executor, handle)
    assert handle.exit_code == 7
    assert (tmp_path / "stdout.log").read_text() == "before\na 'b' $c blue\n"
    assert executor.wait(0) == []
    executor.send(handle, signal.SIGTERM)  # ended: no effect, no error
    assert executor.adopt(2**22 + 1, "boot:1") is None


def test_a_call_that_raises_is_a_crash(tmp_path: Path) -> None:
    def broken(order: Order) -> int:
        raise RuntimeError("no")

    executor = DebugExecutor(broken)
    handle = executor.start(order(tmp_path))
    assert executor.wait(1) == [handle]
    assert handle.exit_code == 1
    assert "RuntimeError: no" in (tmp_path / "stdout.log").read_text()


def test_the_end_of_a_process_wakes_at_once(tmp_path: Path) -> None:
    executor = LocalExecutor()
    handle = executor.start(order(tmp_path, "import time; time.sleep(0.2)"))
    begun = time.monotonic()
    assert executor.wait(30) == [handle]
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("without", ["pidfd_open", "waitid"])
def test_it_works_without_what_only_linux_has(
    without: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, without)
    executor = LocalExecutor()
    handle = executor.start(order(tmp_path))
    wait_for(executor, handle)
    assert handle.exit_code == 7


def test_signals_are_exit_codes_and_reach_the_whole_group(
    tmp_path: Path, alive: Callable[[int], bool], eventually: Callable[..., None]
) -> None:
    program = (
        "import subprocess, sys, time\n"
        "c = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "print(c.pid, flush=True); time.sleep(600)"
    )
    executor = LocalExecutor()
    handle = executor.start(order(tmp_path, program))
    log = tmp_path / "stdout.log"
    eventually(lambda: log.read_text().strip(), "the child's pid")
    executor.send(handle, signal.SIGTERM)
    wait_for(executor, handle)
    assert handle.exit_code == -signal.SIGTERM
    eventually(lambda: not alive(int(log.read_text())), "the child has ended")


def test_what_a_crashed_job_leaves_behind_is_killed(
    tmp_path: Path, alive: Callable[[int], bool], eventually: Callable[..., None]
) -> None:
    program = (
        "import os, subprocess, sys\n"
        "c = subprocess.Popen([sys.executable, '-S', '-c', 'import time; time.sleep(600)'])\n"
        "print(c.pid, flush=True); os._exit(1)"
    )
    executor = LocalExecutor()
    wait_for(executor, executor.start(order(tmp_path, program)))
    child = int((tmp_path / "stdout.log").read_text())
    eventually(lambda: not alive(child), "the worker has ended")


def test_a_program_that_cannot_run_is_an_error(tmp_path: Path) -> None:
    executor = LocalExecutor()
    bad = Order(argv=(str(tmp_path),), env={}, log=tmp_path / "l", folder=tmp_path)
    with pytest.raises(OSError, match="denied"):
        executor.start(bad)
    assert executor.wait(0) == []


def test_another_managers_job_is_adopted_by_pid_and_start_time(tmp_path: Path) -> None:
    first, second = LocalExecutor(), LocalExecutor()
    started = first.start(order(tmp_path, "import sys, time; time.sleep(600)"))
    assert started.pid is not None
    assert started.mark is not None
    assert second.adopt(started.pid, "another start time") is None
    adopted = second.adopt(started.pid, started.mark)
    assert adopted is not None
    assert second.wait(0.05) == []
    second.send(adopted, signal.SIGKILL)
    wait_for(second, adopted)
    assert adopted.exit_code is None
    wait_for(first, started)
    assert second.adopt(started.pid, started.mark) is None


def test_marks_tell_processes_apart() -> None:
    assert process_mark(os.getpid()) == process_mark(os.getpid())
    assert process_mark(os.getpid()) != process_mark(1)
    assert process_mark(2**22 + 1) is None


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_process_is_found_by_its_environment(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    executor = LocalExecutor()
    value = str(tmp_path / "job")
    wanted = order(tmp_path, "import time; time.sleep(600)")
    handle = executor.start(
        Order(argv=wanted.argv, env={**wanted.env, "MARK": value}, log=wanted.log, folder=tmp_path)
    )
    # The kernel shows a new program's environment a moment after it says that it runs.
    eventually(lambda: find_by_variable("MARK", value) == handle.pid, "found")
    assert find_by_variable("MARK", value[:-1]) is None
    executor.send(handle, signal.SIGKILL)
    wait_for(executor, handle)
    assert find_by_variable("MARK", value) is None
