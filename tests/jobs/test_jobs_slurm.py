"""The Slurm engine, on a real Slurm that these tests start and stop."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, why_not

from dnas.errors import ConfigError, DnasError
from dnas.jobs.executors.base import Executor, Handle, Order
from dnas.jobs.executors.slurm import SlurmExecutor
from dnas.runs import JobFolder
from dnas.testing.executors import ExecutorContract

#: Waits in its first start until it is told to save; ends well in its second.
TWO_STARTS = """
import os, signal, time
print(os.getpid(), file=open("starts", "a"))
if len(open("starts").readlines()) > 1:
    os._exit(0)
def save(*_):
    os._exit(75)
signal.signal(signal.SIGTERM, save)
open("runs", "w").close()
time.sleep(600)
"""
#: Waits until it is told to save; says that it runs, and goes on when there is a file "go".
WAIT = """
import os, signal, time
def save(*_):
    open("saved", "w").close()
    os._exit(75)
signal.signal(signal.SIGTERM, save)
open("runs", "w").close()
while not os.path.exists("go"):
    time.sleep(0.02)
"""


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    pytest.importorskip("submitit", reason="needs submitit: pip install 'dnas[slurm]'")
    if reason := why_not():
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:
        started = SlurmCluster(Path(folder))
        try:
            started.start()
            yield started
        finally:
            started.stop()


@pytest.fixture
def slurm(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """The cluster, in which Slurm's commands work until the test ends."""
    for name, value in cluster.variables.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.run("scancel", "--user=root")


@pytest.fixture
def mortal_slurm(slurm: SlurmCluster) -> Iterator[SlurmCluster]:
    """The cluster, begun anew when the test ends: it takes minutes to get over an outage."""
    yield slurm
    slurm.stop()
    slurm.start()


@pytest.mark.slow
class TestSlurmExecutor(ExecutorContract):
    num_gpus = 2

    @pytest.fixture
    def executor(self, tmp_path: Path, slurm: SlurmCluster) -> Executor:
        return SlurmExecutor(tmp_path / "slurm")

    @pytest.fixture
    def later_executor(self, tmp_path: Path, executor: Executor) -> Executor:
        return SlurmExecutor(tmp_path / "slurm")

    # ---- arrays -------------------------------------------------------------------------------

    def test_orders_with_equal_needs_are_one_array(
        self,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        slurm: SlurmCluster,
    ) -> None:
        jobs = [make_job(WAIT, name=f"job{n}", num_cpus=1 + (n == 1)) for n in range(4)]
        handles = self.submit(executor, *jobs)
        arrays = [handle.token["slurm_id"].partition("_")[0] for handle in handles]
        assert arrays[0] == arrays[2] == arrays[3] != arrays[1]
        assert len({handle.token["slurm_id"] for handle in handles}) == 4
        shown = slurm.run("squeue", "--noheader", "--array", "--format=%A %C")
        assert sorted(line.split()[1] for line in shown.splitlines()) == ["1", "1", "1", "2"]
        for folder, _ in jobs:
            (folder.path / "go").touch()
        self.wait_for(executor, *handles)
        ended_by = [self.record(handle)["engine"] for handle in handles]
        assert ended_by == [f"slurm {handle.token['slurm_id']}" for handle in handles]

    def test_what_slurm_is_asked_for(
        self,
        slurm: SlurmCluster,
        tmp_path: Path,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
    ) -> None:
        given = SlurmExecutor(
            tmp_path / "slurm", partition="main", time_min=90, options={"comment": "mine"}
        )
        orders = [
            make_job(WAIT, name="a", num_gpus=1.0, num_cpus=3),
            make_job(WAIT, name="b", timeout_s=300.0),
        ]
        for handle, expected in zip(
            given.submit(orders),
            [("TimeLimit=01:30:00", "gres:gpu:1", "NumCPUs=3"), ("TimeLimit=00:08:00",)],
            strict=True,
        ):
            shown = slurm.run("scontrol", "show", "job", handle.token["slurm_id"])
            for words in (*expected, "Requeue=1", "Comment=mine", "Partition=main"):
                assert words in shown

    # ---- requeueing ---------------------------------------------------------------------------

    @pytest.mark.parametrize(
        "command",
        [("scontrol", "requeue"), ("scancel", "--signal=URG")],
        ids=["administrator", "time limit or preemption"],
    )
    def test_a_requeued_job_is_the_same_attempt(
        self,
        command: tuple[str, ...],
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        slurm: SlurmCluster,
    ) -> None:
        [handle] = self.submit(executor, make_job(TWO_STARTS))
        self.wait_until_it_runs(handle)
        assert slurm.run(*command, handle.token["slurm_id"]) == ""
        self.eventually(lambda: self.record(handle)["state"] == "ended", "the first start ended")
        assert (self.record(handle)["end"], self.record(handle)["exit_code"]) == ("stopped", 75)
        ended: list[Handle] = []
        self.eventually(
            lambda: ended.extend(executor.poll(0.1)) or handle.waits_for, "it waits again"
        )
        assert (ended, handle.started) == ([], False)
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"], record["restart"]) == ("exited", 0, 1)
        assert len((handle.folder.path / "starts").read_text().splitlines()) == 2
        assert handle.ending == ""

    # ---- other ends ---------------------------------------------------------------------------

    def test_a_running_job_that_somebody_cancels(
        self,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        slurm: SlurmCluster,
    ) -> None:
        [handle] = self.submit(executor, make_job(WAIT))
        self.wait_until_it_runs(handle)
        slurm.run("scancel", handle.token["slurm_id"])
        record = self.finish(executor, handle)
        assert (record["end"], record["exit_code"]) == ("stopped", 75)
        assert handle.ending == "cancelled"
        assert "CANCELLED" in handle.ending_reason

    @pytest.mark.parametrize("by_us", [True, False], ids=["by the manager", "by somebody"])
    def test_a_waiting_job_is_cancelled_at_once(
        self,
        by_us: bool,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        slurm: SlurmCluster,
    ) -> None:
        [first] = self.submit(executor, make_job(WAIT, name="first", num_gpus=2))
        self.wait_until_it_runs(first)
        [second] = self.submit(executor, make_job(WAIT, name="second", num_gpus=1))
        self.eventually(
            lambda: executor.poll(0.1) == [] and second.waits_for in ("Resources", "Priority"),
            "the reason why it waits",
        )
        assert not second.started
        if by_us:
            executor.cancel(second)
        else:
            slurm.run("scancel", second.token["slurm_id"])
        begun = time.monotonic()
        self.wait_for(executor, second)
        assert time.monotonic() - begun < 20
        assert second.ending == "cancelled"
        assert not second.folder.attempt(1).exists()

    def test_a_supervisor_that_dies_leaves_a_lost_job(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        [handle] = self.submit(executor, make_job(WAIT))
        self.wait_until_it_runs(handle)
        os.kill(self.record(handle)["pid"], 9)
        self.wait_for(executor, handle)
        assert handle.ending == "lost"
        assert str(handle.token["slurm_id"]) in handle.ending_reason

    # ---- managers and controllers come and go -------------------------------------------------

    def test_a_job_is_found_without_a_token(
        self,
        executor: Executor,
        later_executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
    ) -> None:
        handles = self.submit(executor, *(make_job(WAIT, name=f"job{n}") for n in range(3)))
        for handle in handles:
            adopted = later_executor.adopt(handle.folder, 1, {})
            assert adopted is not None
            assert adopted.token == handle.token
            assert later_executor.adopt(handle.folder, 2, {}) is None

    def test_a_silent_controller_is_no_end(
        self,
        executor: Executor,
        later_executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        mortal_slurm: SlurmCluster,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        handles = self.submit(executor, *(make_job(WAIT, name=f"job{n}") for n in range(2)))
        for handle in handles:
            self.wait_until_it_runs(handle)
        mortal_slurm.stop_daemon("slurmctld")
        try:
            self.eventually(
                lambda: executor.poll(0.1) == [] and "does not answer" in caplog.text, "a warning"
            )
            # What a job itself writes is seen all the same, and who comes now keeps the other.
            (handles[0].folder.path / "go").touch()
            assert executor.poll(self.timeout_s) == [handles[0]]
            adopted = later_executor.adopt(handles[1].folder, 1, handles[1].token)
            assert adopted is not None
            with pytest.raises(OSError, match="controller"):
                executor.submit([make_job(WAIT, name="job3")])
        finally:
            mortal_slurm.start_controller()
        assert executor.poll(3) == []
        (handles[1].folder.path / "go").touch()
        assert self.finish(executor, handles[1])["exit_code"] == 0
        self.wait_for(later_executor, adopted)

    def test_a_manager_inside_of_a_slurm_job(
        self,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for name, value in {"JOB_ID": "77", "RESTART_COUNT": "3", "CPUS_PER_TASK": "9"}.items():
            monkeypatch.setenv(f"SLURM_{name}", value)
        monkeypatch.setenv("SQUEUE_PARTITION", "none")
        program = "import os; print(os.environ['SLURM_CPUS_PER_TASK'])"
        [handle] = self.submit(executor, make_job(program, num_cpus=2))
        assert self.finish(executor, handle)["restart"] == 0
        assert handle.folder.log.read_text().splitlines()[-1] == "2"
        assert os.environ["SLURM_RESTART_COUNT"] == "3"

    # ---- refusals -----------------------------------------------------------------------------

    def test_slurm_gives_whole_gpus(
        self, executor: Executor, make_job: Callable[..., tuple[JobFolder, Order]]
    ) -> None:
        with pytest.raises(ConfigError, match="NUM_JOBS_PER_GPU:1"):
            executor.submit([make_job("", num_gpus=0.5)])

    def test_what_sbatch_refuses_names_its_reason(
        self,
        slurm: SlurmCluster,
        tmp_path: Path,
        executor: Executor,
        make_job: Callable[..., tuple[JobFolder, Order]],
    ) -> None:
        wrong = SlurmExecutor(tmp_path / "slurm", partition="nowhere")
        with pytest.raises(ConfigError, match="invalid partition"):
            wrong.submit([make_job("")])


def test_an_option_that_the_queue_sets_itself_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    with pytest.raises(ConfigError, match="--slurm_option job-name=x"):
        SlurmExecutor(tmp_path, options={"job_name": "x"})


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "submitit", None)
        with pytest.raises(DnasError, match=r"pip install 'dnas\[slurm\]'"):
            SlurmExecutor(tmp_path)
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DnasError, match="sbatch"):
        SlurmExecutor(tmp_path)
