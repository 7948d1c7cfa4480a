"""The contract of executors, as pytest checks that an engine's own tests inherit::

    import pytest

    from dnas.jobs import Executor
    from dnas.testing.executors import ExecutorContract


    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        def executor(self) -> Executor:
            return MyExecutor()

What an engine cannot do it says by the class attributes; those checks are then skipped. The jobs
are small Python programs, and what they did is read from files in their folders, so jobs may run
anywhere that shares the file system.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnas.jobs.attempt import revoke
from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.jobs.processes import process_mark
from dnas.runs import JobFolder

#: Tells the test that it runs, then waits to be told to go on.
_WAIT = """
import os, pathlib, time
pathlib.Path("runs").touch()
while not os.path.exists("go"):
    time.sleep(0.02)
"""
_SAVE_ON_TERM = f"""
import os, pathlib, signal
def save(*_):
    pathlib.Path("saved").touch()
    os._exit(75)
signal.signal(signal.SIGTERM, save)
{_WAIT}
"""
_IGNORE_TERM = f"""
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
{_WAIT}
"""
#: A child in the job's group, and one that has left group and session and lost its parent.
_LEAVE_CHILDREN = """
import os, subprocess, sys
sleep = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
orphan = (
    "import subprocess, sys;"
    "print(subprocess.Popen(sys.argv[1:], start_new_session=True, stdout=subprocess.DEVNULL).pid)"
)
pids = [subprocess.Popen(sleep).pid]
pids += [int(subprocess.check_output([sys.executable, "-S", "-c", orphan, *sleep]))]
with open("pids", "w") as file:
    print(*pids, file=file)
os._exit(3)
"""


class ExecutorContract:
    """Checks that every engine passes; subclass it and give the fixture ``executor``."""

    in_process: bool = False
    """The engine calls a function at once instead of starting a supervisor."""
    same_host: bool = True
    """Jobs run on this machine, so that their processes can be looked for."""
    num_gpus: int = 0
    """GPUs that the engine can give to jobs; for engines that choose devices."""
    timeout_s: float = 60.0
    """Nothing that is waited for takes longer."""

    @pytest.fixture
    def executor(self) -> Executor:
        """The engine to check."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `executor`")

    @pytest.fixture
    def later_executor(self, executor: Executor) -> Executor:
        """Another object for the same engine, as a manager that was started again makes it."""
        return type(executor)()

    @pytest.fixture(autouse=True)
    def _leave_nothing(self, executor: Executor) -> Iterator[None]:
        self.submitted: list[Handle] = []
        yield
        for handle in self.submitted:
            executor.cancel(handle, kill=True)
        executor.close()

    @pytest.fixture
    def make_job(self, tmp_path: Path) -> Callable[..., tuple[JobFolder, Order]]:
        """Make a job of a Python program: ``make_job(program, name="job", attempt=1)``."""

        def make(program: str, *words: str, name: str = "job", **settings: Any) -> Any:
            folder = JobFolder(tmp_path / "supernet" / name)
            folder.path.mkdir(parents=True, exist_ok=True)
            order = Order(
                **{
                    "argv": (sys.executable, "-S", "-c", program, *words),
                    "variables": {},
                    "cwd": str(folder.path),
                    "attempt": 1,
                    "stop_grace_s": 20.0,
                    "heartbeat_s": 0.2,
                    **settings,
                }
            )
            order.write(folder)
            return folder, order

        return make

    # ---- running ------------------------------------------------------------------------------

    def test_a_job_gets_its_words_variables_folder_and_log(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]], tmp_path: Path
    ) -> None:
        program = "import os, sys; print(os.getcwd(), os.environ['A B'], sys.argv[1:], flush=True)"
        words = ("two words", "$HOME '\"", "a\nb", "é", "")
        elsewhere = tmp_path / "else where"
        elsewhere.mkdir()
        folder, order = make_job(
            program, *words, name="a 'b' é", variables={"A B": "x y"}, cwd=str(elsewhere)
        )
        folder.log.write_text("before\n", encoding="utf-8")
        self.finish(executor, *self.submit(executor, (folder, order)))
        lines = folder.log.read_text(encoding="utf-8").split("\n")
        assert lines[0] == "before", "what earlier attempts wrote to the log is kept"
        assert f"{elsewhere} x y {list(words)!r}" in lines

    @pytest.mark.parametrize("code", [0, 7])
    def test_the_exit_code_is_in_the_attempts_file(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]], code: int
    ) -> None:
        [handle] = self.submit(executor, make_job(f"import os; os._exit({code})"))
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"]) == ("exited", code)
        assert record["attempt"] == 1
        assert record["host"]
        assert 0 <= record["seconds"] < self.timeout_s

    def test_a_signal_is_an_exit_code(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        job = make_job("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
        assert self.finish(executor, *self.submit(executor, job))["exit_code"] == -11

    @pytest.mark.parametrize(
        "wrong", [{"argv": ("/no/such/program",)}, {"cwd": "/no/such/folder"}], ids=["argv", "cwd"]
    )
    def test_a_job_that_cannot_be_started_is_reported_and_not_raised(
        self,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        wrong: dict[str, Any],
    ) -> None:
        self.needs_supervisor()
        record = self.finish(executor, *self.submit(executor, make_job("", **wrong)))
        assert record["exit_code"] is None
        assert "/no/such" in record["start_error"]

    def test_several_orders_at_once(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        jobs = [make_job(f"import os; os._exit({n})", name=f"job{n}") for n in range(3)]
        handles = self.submit(executor, *jobs)
        assert [handle.folder for handle in handles] == [folder for folder, _ in jobs]
        self.wait_for(executor, *handles)
        assert [self.record(handle)["exit_code"] for handle in handles] == [0, 1, 2]

    def test_poll_returns_as_soon_as_one_ends_and_each_once(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        slow, quick = make_job(_WAIT, name="slow"), make_job("", name="quick")
        first, second = self.submit(executor, slow, quick)
        begun = time.monotonic()
        assert executor.poll(self.timeout_s) == [second]
        assert time.monotonic() - begun < self.timeout_s - 1, "it waited for its time-out"
        self.wait_until_it_runs(first)
        assert executor.poll(0.1) == []
        (slow[0].path / "go").touch()
        self.wait_for(executor, first)
        assert executor.poll(0.1) == []

    def test_a_running_job_has_started_and_beats(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_WAIT))
        self.wait_until_it_runs(handle)
        beat = self.record(handle)["beat"]
        self.eventually(lambda: self.record(handle)["beat"] > beat, "another beat")
        self.eventually(
            lambda: executor.poll(0.1) == [] and handle.started, "the handle says that it runs"
        )
        assert self.record(handle)["state"] == "running"

    def test_each_job_gets_gpus_of_its_own(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        if self.num_gpus < 2:
            pytest.skip("this engine has no two GPUs to give")
        program = "import os; open('gpus', 'w').write(os.environ['CUDA_VISIBLE_DEVICES'])" + _WAIT
        jobs = [make_job(program, name=f"job{n}", num_gpus=1) for n in range(2)]
        handles = self.submit(executor, *jobs)
        for handle in handles:
            self.wait_until_it_runs(handle)
        given = [(folder.path / "gpus").read_text() for folder, _ in jobs]
        assert len(set(given)) == 2
        assert not any("," in gpus or not gpus for gpus in given)

    # ---- once ---------------------------------------------------------------------------------

    def test_a_revoked_attempt_is_not_run(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        folder, order = make_job("open('runs', 'w')")
        assert revoke(folder.attempt(1))
        self.wait_for(executor, *self.submit(executor, (folder, order)))
        assert not (folder.path / "runs").exists()
        assert json.loads(folder.attempt(1).read_text(encoding="utf-8")) == {"state": "revoked"}

    def test_an_attempt_submitted_twice_runs_once(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        job = make_job("print(file=open('starts', 'a'))")
        handles = [*self.submit(executor, job), *self.submit(executor, job)]
        self.wait_for(executor, *handles)
        self.eventually(lambda: self.record(handles[0])["state"] == "ended", "its end is written")
        assert (job[0].path / "starts").read_text() == "\n"

    def test_a_job_ends_when_a_newer_attempt_is_ordered(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_IGNORE_TERM))
        self.wait_until_it_runs(handle)
        make_job(_WAIT, attempt=2)
        assert self.finish(executor, handle)["end"] == "stopped"

    # ---- ending -------------------------------------------------------------------------------

    def test_a_cancelled_job_can_save(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_SAVE_ON_TERM))
        self.wait_until_it_runs(handle)
        executor.cancel(handle)
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"]) == ("stopped", 75)
        assert (handle.folder.path / "saved").exists()
        executor.cancel(handle)  # has ended: no effect, no error
        executor.cancel(handle, kill=True)

    def test_a_job_that_ignores_a_cancel_is_killed_after_its_grace(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_IGNORE_TERM, stop_grace_s=0.5))
        self.wait_until_it_runs(handle)
        executor.cancel(handle)
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"]) == ("stopped", -9)

    def test_kill_needs_no_consent(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_IGNORE_TERM, stop_grace_s=600.0))
        self.wait_until_it_runs(handle)
        executor.cancel(handle)
        executor.cancel(handle, kill=True)
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"]) == ("stopped", -9)

    def test_a_job_ends_when_its_time_is_over(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_SAVE_ON_TERM, timeout_s=1.5))
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"]) == ("timed_out", 75)
        assert 1.5 <= record["seconds"] < self.timeout_s

    def test_nothing_of_a_job_is_left(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        self.needs_supervisor()
        if not self.same_host:
            pytest.skip("this engine's jobs run on other machines")
        if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
            pytest.skip("this kernel does not tell a process its children")
        [handle] = self.submit(executor, make_job(_LEAVE_CHILDREN))
        assert self.finish(executor, handle)["exit_code"] == 3
        pids = [int(pid) for pid in (handle.folder.path / "pids").read_text().split()]
        assert len(pids) == 2
        assert [pid for pid in pids if process_mark(pid) is not None] == []

    # ---- adopting -----------------------------------------------------------------------------

    def test_a_later_manager_adopts_a_job_by_its_token(
        self,
        executor: Executor,
        later_executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
    ) -> None:
        self.needs_supervisor()
        [handle] = self.submit(executor, make_job(_SAVE_ON_TERM))
        self.wait_until_it_runs(handle)
        token = json.loads(json.dumps(handle.token))
        adopted = later_executor.adopt(handle.folder, handle.attempt, token)
        assert adopted is not None
        assert (adopted.folder, adopted.attempt) == (handle.folder, handle.attempt)
        assert adopted.token == token
        assert later_executor.poll(0.2) == []
        later_executor.cancel(adopted)
        assert self.finish(later_executor, adopted)["exit_code"] == 75
        self.wait_for(executor, handle)
        later_executor.close()

    def test_a_job_that_is_gone_is_not_adopted(
        self,
        executor: Executor,
        later_executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
    ) -> None:
        folder, order = make_job("")
        [handle] = self.submit(executor, (folder, order))
        self.finish(executor, handle)
        # What the engine itself holds may go a moment later than the job.
        self.eventually(
            lambda: later_executor.adopt(folder, order.attempt, handle.token) is None, "None"
        )
        assert later_executor.poll(0.1) == []
        later_executor.close()

    def test_a_job_that_never_was_is_not_adopted(
        self,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
    ) -> None:
        folder, order = make_job("")
        assert executor.adopt(folder, order.attempt, {}) is None
        assert executor.poll(0.1) == []

    # ---- helpers ------------------------------------------------------------------------------

    def needs_supervisor(self) -> None:
        """Skip a check that a call in this process cannot pass."""
        if self.in_process:
            pytest.skip("this engine runs jobs as calls in this process")

    def submit(self, executor: Executor, *jobs: tuple[JobFolder, Order]) -> list[Handle]:
        """Submit, and see that the jobs end with the test."""
        handles = executor.submit(jobs)
        self.submitted += handles
        assert [(h.folder, h.attempt) for h in handles] == [(f, o.attempt) for f, o in jobs]
        return handles

    def wait_for(self, executor: Executor, *handles: Handle) -> None:
        """Poll until these have ended, each exactly once."""
        waiting = list(handles)
        deadline = time.monotonic() + self.timeout_s
        while waiting:
            assert time.monotonic() < deadline, f"no end in {self.timeout_s} s: {waiting}"
            for handle in executor.poll(0.5):
                waiting.remove(handle)

    def finish(self, executor: Executor, handle: Handle) -> dict[str, Any]:
        """Wait for the end of a job, and give what its supervisor wrote of it."""
        self.wait_for(executor, handle)
        record = self.record(handle)
        assert record["state"] == "ended", "the end is written before the handle is returned"
        return record

    def wait_until_it_runs(self, handle: Handle) -> None:
        """Until the job's program has said that it runs."""
        self.eventually((handle.folder.path / "runs").exists, f"{handle.folder.path} runs")

    def eventually(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition holds, and fail if it does not in time."""
        deadline = time.monotonic() + self.timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not in {self.timeout_s} s: {what}"
            time.sleep(0.02)

    @staticmethod
    def record(handle: Handle) -> dict[str, Any]:
        """What the attempt's file says."""
        return dict(json.loads(handle.folder.attempt(handle.attempt).read_text(encoding="utf-8")))
