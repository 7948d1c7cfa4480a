"""Jobs on a real Ray cluster of three nodes with GPUs that exist in name only."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dnas.errors import DnasError
from dnas.jobs import Executor, Order
from dnas.jobs.attempt import JOB_ATTEMPT_VARIABLE, JOB_FOLDER_VARIABLE, read_attempt
from dnas.jobs.executors.base import Handle
from dnas.jobs.executors.ray import RayExecutor
from dnas.jobs.executors.ray_words import needs, why_gone, why_waiting
from dnas.jobs.processes import process_mark
from dnas.runs import JobFolder
from dnas.testing.executors import ExecutorContract

Job = tuple[JobFolder, Order]
MakeJob = Callable[..., Job]

#: Says which GPUs it sees, then waits to be told to go on.
WAIT = """
import os, pathlib, time
with open("starts", "a") as starts:
    starts.write(os.environ["CUDA_VISIBLE_DEVICES"] + "\\n")
pathlib.Path("runs").touch()
while not os.path.exists("go"):
    time.sleep(0.02)
"""
SAVE = f"""
import os, pathlib, signal
def save(*_):
    pathlib.Path("saved").touch()
    os._exit(75)
signal.signal(signal.SIGTERM, save)
{WAIT}
"""


class RayCluster:
    """A head without GPUs and nodes with two each, all on this machine."""

    def __init__(self) -> None:
        cluster_utils = pytest.importorskip("ray.cluster_utils")
        before = signal.getsignal(signal.SIGTERM)
        self._cluster = cluster_utils.Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 0}
        )
        signal.signal(signal.SIGTERM, before)
        self.nodes = [self.add_node(), self.add_node()]
        self.address = self._cluster.address

    def add_node(self) -> Any:
        """Another node of two GPUs."""
        before = signal.getsignal(signal.SIGTERM)
        node = self._cluster.add_node(num_cpus=4, num_gpus=2)
        signal.signal(signal.SIGTERM, before)
        return node

    def kill_node(self, node: Any) -> None:
        """As a power cut does; another one takes its place."""
        self._cluster.remove_node(node, allow_graceful=False)
        self.nodes.remove(node)

    def shutdown(self) -> None:
        """End all of it."""
        self._cluster.shutdown()


@pytest.fixture(scope="class")
def cluster() -> Iterator[RayCluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.delenv("RAY_ADDRESS", raising=False)
        # What the nodes' processes find, and thus the jobs.
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        found = RayCluster()
        yield found
        found.shutdown()


@pytest.mark.slow
class TestRayExecutor(ExecutorContract):
    num_gpus = 4

    @pytest.fixture
    def executor(self, cluster: RayCluster) -> Executor:
        return RayExecutor(cluster.address)

    @pytest.fixture
    def later_executor(self, cluster: RayCluster) -> Executor:
        return RayExecutor(cluster.address)

    # ---- devices ------------------------------------------------------------------------------

    def test_halves_of_gpus_are_shared_by_two(self, executor: Executor, make_job: MakeJob) -> None:
        jobs = [make_job(WAIT, name=f"half{n}", num_gpus=0.5) for n in range(8)]
        handles = self.submit(executor, *jobs)
        for handle in handles:
            self.wait_until_it_runs(handle)
        for folder, _ in jobs:
            (folder.path / "go").touch()
        self.wait_for(executor, *handles)
        # Two nodes, each of which numbers its GPUs from 0.
        assert sorted(gpus(folder) for folder, _ in jobs) == ["0"] * 4 + ["1"] * 4

    def test_a_job_of_two_gpus_sees_both_and_one_of_none_sees_none(
        self, executor: Executor, make_job: MakeJob
    ) -> None:
        program = WAIT.replace("while not", "while False and not")
        jobs = [make_job(program, name=f"of{n}", num_gpus=n) for n in (0, 2)]
        self.wait_for(executor, *self.submit(executor, *jobs))
        assert [gpus(folder) for folder, _ in jobs] == ["", "0,1"]

    def test_an_order_cannot_say_which_gpu(self, executor: Executor, make_job: MakeJob) -> None:
        program = WAIT.replace("while not", "while False and not")
        job = make_job(program, num_gpus=1, variables={"CUDA_VISIBLE_DEVICES": "7"})
        self.finish(executor, *self.submit(executor, job))
        assert gpus(job[0]) in ("0", "1")

    def test_a_job_knows_nothing_of_the_ray_worker_it_runs_in(
        self, executor: Executor, make_job: MakeJob
    ) -> None:
        program = "import json, os; json.dump(dict(os.environ), open('environment', 'w'))"
        job = make_job(program, variables={"RAY_ADDRESS": "mine"})
        self.finish(executor, *self.submit(executor, job))
        found = json.loads((job[0].path / "environment").read_text())
        of_ray = [name for name in found if name.startswith(("RAY_", "PYTHONBREAK", "SPT_"))]
        assert of_ray == ["RAY_ADDRESS"]

    # ---- waiting ------------------------------------------------------------------------------

    def test_a_waiting_job_says_what_for_and_begins_when_there_is_room(
        self, executor: Executor, make_job: MakeJob
    ) -> None:
        first = [make_job(WAIT, name=f"first{n}", num_gpus=2) for n in range(2)]
        running = self.submit(executor, *first)
        for handle in running:
            self.wait_until_it_runs(handle)
        job = make_job(WAIT, name="last", num_gpus=1)
        [waiting] = self.submit(executor, job)
        [never] = self.submit(executor, make_job(WAIT, name="never", num_gpus=3))

        def explained() -> bool:
            assert executor.poll(0.1) == []
            return "no free GPU" in waiting.waits_for

        self.eventually(explained, "it says what it waits for")
        assert not waiting.started
        assert "needs 3 GPUs, the largest node of the Ray cluster has 2" in never.waits_for
        assert all(handle.started and not handle.waits_for for handle in running)
        (first[0][0].path / "go").touch()
        self.wait_until_it_runs(waiting)
        self.eventually(lambda: executor.poll(0.1) is not None and waiting.started, "started")
        assert waiting.waits_for == ""

    @pytest.mark.parametrize("kill", [False, True])
    def test_a_cancelled_job_that_waits_never_begins(
        self, executor: Executor, make_job: MakeJob, kill: bool
    ) -> None:
        job = make_job(WAIT, num_gpus=3)
        [handle] = self.submit(executor, job)
        executor.cancel(handle, kill=kill)
        self.wait_for(executor, handle)
        assert read_attempt(job[0].attempt(1)) == {"state": "revoked"}
        assert handle.ending_reason == "it was taken back before it began"

    # ---- death --------------------------------------------------------------------------------

    def test_jobs_of_a_killed_node_are_lost_and_run_once_more_elsewhere(
        self, executor: Executor, make_job: MakeJob, cluster: RayCluster
    ) -> None:
        jobs = [make_job(WAIT, name=f"job{n}", num_gpus=1) for n in range(4)]
        handles = self.submit(executor, *jobs)
        for handle in handles:
            self.wait_until_it_runs(handle)
        pids = {handle: pids_of(self.record(handle)) for handle in handles}
        cluster.kill_node(cluster.nodes[0])
        lost: list[Handle] = []

        def two_are_lost() -> bool:
            lost.extend(executor.poll(0.5))
            return len(lost) >= 2

        self.eventually(two_are_lost, "two jobs are lost")
        assert [handle.ending for handle in lost] == ["lost", "lost"]
        assert all("node" in handle.ending_reason for handle in lost), lost[0].ending_reason
        dead = [pid for handle in lost for pid in pids[handle]]
        self.eventually(lambda: not any(map(process_mark, dead)), "nothing of them is alive")
        cluster.nodes.append(cluster.add_node())
        again = [
            make_job(WAIT, name=handle.folder.path.name, num_gpus=1, attempt=2) for handle in lost
        ]
        for folder, _ in jobs:
            (folder.path / "go").touch()
        others = [handle for handle in handles if handle not in lost]
        second = self.submit(executor, *again)
        self.wait_for(executor, *others, *second)
        assert [self.record(handle)["exit_code"] for handle in others + second] == [0] * 4
        assert sorted(len(starts(folder)) for folder, _ in jobs) == [1, 1, 2, 2]

    @pytest.mark.parametrize("victim", ["worker", "supervisor"])
    def test_a_job_whose_ray_worker_or_supervisor_is_killed_is_lost(
        self, executor: Executor, make_job: MakeJob, victim: str
    ) -> None:
        [handle] = self.submit(executor, make_job(WAIT, num_gpus=1))
        self.wait_until_it_runs(handle)
        record = self.record(handle)
        os.kill(record["pid"] if victim == "supervisor" else parent_of(record["pid"]), 9)
        self.wait_for(executor, handle)
        assert handle.ending == "lost"
        assert ("without a word" if victim == "supervisor" else "died") in handle.ending_reason
        alive = pids_of(record)
        self.eventually(lambda: not any(map(process_mark, alive)), "nothing of it is alive")
        # Nothing holds the devices of those that are gone.
        jobs = [make_job("", name=f"after{n}", num_gpus=2) for n in range(2)]
        self.wait_for(executor, *self.submit(executor, *jobs))

    def test_a_supervisor_that_hangs_is_killed_with_its_job(
        self, executor: Executor, make_job: MakeJob
    ) -> None:
        [handle] = self.submit(executor, make_job(WAIT))
        self.wait_until_it_runs(handle)
        record = self.record(handle)
        os.kill(record["pid"], signal.SIGSTOP)
        executor.cancel(handle, kill=True)
        self.wait_for(executor, handle)
        alive = pids_of(record)
        self.eventually(lambda: not any(map(process_mark, alive)), "nothing of it is alive")

    def test_a_node_that_does_not_see_the_run_folder_says_so(
        self, executor: Executor, make_job: MakeJob
    ) -> None:
        folder, order = make_job(WAIT)
        away = folder.path.rename(folder.path.with_name("away"))
        [handle] = executor.submit([(folder, order)])
        self.wait_for(executor, handle)
        away.rename(folder.path)
        assert handle.ending == "lost"
        assert "must see the run folder" in handle.ending_reason
        assert "stdout.log" in handle.ending_reason

    @pytest.mark.parametrize("host", ["this", "other"])
    def test_what_a_dead_supervisor_left_is_killed_on_its_host(
        self,
        executor: Executor,
        make_job: MakeJob,
        monkeypatch: pytest.MonkeyPatch,
        host: str,
    ) -> None:
        folder, _ = make_job("")
        marks = {JOB_FOLDER_VARIABLE: str(folder.path), JOB_ATTEMPT_VARIABLE: "1"}
        command = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
        left = subprocess.Popen(command, env={**os.environ, **marks})
        other = subprocess.Popen(command, env={**os.environ, **marks, JOB_ATTEMPT_VARIABLE: "2"})
        record = {"state": "running", "host": socket.gethostname()}
        self.eventually(
            lambda: marks[JOB_FOLDER_VARIABLE] in Path(f"/proc/{other.pid}/environ").read_text(),
            "the processes have their environment",
        )
        if host == "other":
            monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        executor.clear(folder, 1, record)
        assert left.wait(20) == -9
        assert other.poll() is None
        other.kill()
        other.wait()

    # ---- managers -----------------------------------------------------------------------------

    def test_jobs_outlive_a_killed_manager_and_are_adopted(
        self, executor: Executor, make_job: MakeJob, cluster: RayCluster
    ) -> None:
        first = [make_job(WAIT, name=f"first{n}", num_gpus=2) for n in range(2)]
        waiting = make_job(WAIT, name="waiting", num_gpus=1)
        left_alone = make_job(WAIT, name="left_alone", num_gpus=1)
        submit = """
import sys
import time
from pathlib import Path
import ray
from dnas.files import read_json
from dnas.jobs.executors.ray import RayExecutor
from dnas.jobs.executors.base import Order
from dnas.runs import JobFolder
executor = RayExecutor(sys.argv[1])
for line in sys.stdin:
    folder = JobFolder(Path(line.strip()))
    [handle] = executor.submit([(folder, Order(**read_json(folder.order)))])
    # Ray sends the order to create an actor from a thread of its own. A manager that is killed in
    # that moment leaves an attempt that no cluster has, which the next manager queues again.
    actor = handle.actor._ray_actor_id.hex()
    while ray._private.state.actors(actor)["State"] == "DEPENDENCIES_UNREADY":
        time.sleep(0.01)
    print(1, flush=True)
"""
        folders = [folder for folder, _ in (*first, waiting, left_alone)]
        manager = subprocess.Popen(
            [sys.executable, "-c", submit, cluster.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            text=True,
        )
        assert manager.stdin is not None
        assert manager.stdout is not None
        for folder in folders:
            print(folder.path, file=manager.stdin, flush=True)
            assert manager.stdout.readline() == "1\n"
            if folder.path.name.startswith("first"):
                self.eventually((folder.path / "runs").exists, f"{folder.path} runs")
        manager.kill()
        manager.communicate()
        beats = [read_attempt(folder.attempt(1))["beat"] for folder, _ in first]
        self.eventually(
            lambda: all(
                read_attempt(folder.attempt(1))["beat"] > beat + 10
                for (folder, _), beat in zip(first, beats, strict=True)
            ),
            "they go on beating without a manager",
        )
        # One ends while nobody is there: its devices go to those that wait.
        (first[0][0].path / "go").touch()
        for folder, _ in (waiting, left_alone):
            self.eventually((folder.path / "runs").exists, "they begin without a manager")
        adopted = [executor.adopt(folder, 1, {}) for folder in folders]
        assert adopted[0] is None
        assert read_attempt(folders[0].attempt(1))["exit_code"] == 0
        handles = [handle for handle in adopted if handle is not None]
        assert len(handles) == 3
        assert executor.poll(0.2) == []
        assert all(handle.started for handle in handles)
        for folder in folders:
            (folder.path / "go").touch()
        self.wait_for(executor, *handles)
        assert [len(starts(folder)) for folder in folders] == [1] * 4
        assert [read_attempt(folder.attempt(1))["exit_code"] for folder in folders] == [0] * 4

    def test_a_job_of_another_cluster_is_watched_until_it_stands_still(
        self, make_job: MakeJob, cluster: RayCluster, executor: Executor
    ) -> None:
        folder, order = make_job("")
        later = RayExecutor(cluster.address, lost_after_s=3.0)
        file = folder.attempt(1)
        record = {"state": "running", "attempt": 1, "beat": 1, "host": "elsewhere", "pid": 1}
        file.write_text(json.dumps(record))
        handle = later.adopt(folder, 1, {"actor": "gone"})
        assert handle is not None
        later.cancel(handle)
        assert json.loads(folder.stop.read_text()) == {
            "attempt": 1,
            "kill": False,
            "grace_s": order.stop_grace_s,
        }
        file.write_text(json.dumps({**record, "beat": 2}))
        assert later.poll(0.1) == []
        self.wait_for(later, handle)
        assert handle.ending == "lost"
        assert "elsewhere" in handle.ending_reason
        # On this host, the process itself can be asked for.
        file.write_text(json.dumps({**record, "host": socket.gethostname(), "mark": "none"}))
        assert later.adopt(folder, 1, {}) is None
        later.close()

    def test_a_cluster_started_here_is_shut_down_with_its_jobs(self, make_job: MakeJob) -> None:
        folder, _ = make_job(WAIT, num_gpus=1)
        manager = subprocess.Popen(
            [sys.executable, "-c", _OWN_CLUSTER, str(folder.path)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        self.eventually((folder.path / "runs").exists, "it runs")
        record = read_attempt(folder.attempt(1))
        assert record is not None
        manager.kill()
        begun = time.monotonic()
        manager.wait()
        self.eventually(lambda: not any(map(process_mark, pids_of(record))), "nothing is alive")
        assert time.monotonic() - begun < 30

    def test_connecting_leaves_signals_and_environment_as_they_are(
        self, executor: Executor
    ) -> None:
        environment = dict(os.environ)
        asked: list[int] = []
        before = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
        try:
            executor.submit([])
            os.kill(os.getpid(), signal.SIGTERM)
            self.eventually(lambda: asked == [signal.SIGTERM], "the manager's handler is called")
        finally:
            signal.signal(signal.SIGTERM, before)
        assert dict(os.environ) == environment


_OWN_CLUSTER = """
import sys, time
from pathlib import Path
from dnas.files import read_json
from dnas.jobs.executors.ray import RayExecutor
from dnas.jobs.executors.base import Order
from dnas.runs import JobFolder
folder = JobFolder(Path(sys.argv[1]))
executor = RayExecutor("local", num_cpus=2, num_gpus=1)
executor.submit([(folder, Order(**read_json(folder.order)))])
time.sleep(600)
"""


@pytest.mark.parametrize(("address", "variable"), [("127.0.0.1:1", ""), ("auto", "127.0.0.1:1")])
def test_no_cluster_is_an_error_that_says_what_to_do(
    address: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", variable)
    with pytest.raises(DnasError, match=r"no Ray cluster .*refused.*ray start --head"):
        RayExecutor(address).submit([])


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DnasError, match=r"pip install 'dnas\[ray\]'"):
        RayExecutor().submit([])


@pytest.mark.parametrize(
    ("wanted", "free", "words"),
    [
        (needs(1, 1), {"CPU": 8.0}, "no free GPU in the Ray cluster (0 of 3 free)"),
        (needs(0, 2), {"CPU": 1.0, "GPU": 3.0}, "no free CPU in the Ray cluster (1 of 12 free)"),
        (needs(3, 1), {"CPU": 9.0, "GPU": 3.0}, "needs 3 GPUs, the largest node"),
        (needs(2, 8), {"CPU": 9.0, "GPU": 3.0}, "needs 2 GPUs and 8 CPUs, and no node"),
        (needs(1, 1), {"CPU": 9.0, "GPU": 3.0}, "for Ray to start it"),
    ],
)
def test_words_for_jobs_that_wait(
    wanted: dict[str, float], free: dict[str, float], words: str
) -> None:
    nodes = [{"CPU": 4.0, "GPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}]
    assert why_waiting(wanted, nodes, free).startswith(words)


def test_parts_of_a_gpu_are_rounded_down() -> None:
    for jobs in range(1, 64):
        assert round(jobs * needs(1 / jobs, 1)["GPU"] * 10_000) <= 10_000
    assert needs(0.5, 2) == {"GPU": 0.5, "CPU": 2.0}


def test_words_for_jobs_that_are_gone() -> None:
    error = "The actor died.\n\tpid: 3\nThe actor is dead because its node has died. Node Id: 12"
    assert why_gone(error, "log") == "Ray says: The actor is dead because its node has died"
    assert why_gone("Something else. More.", "log") == "Ray says: Something else"
    assert "a/log may say why" in why_gone("", "a/log")


def gpus(folder: JobFolder) -> str:
    """What a job's only attempt has seen."""
    [found] = starts(folder)
    return found


def starts(folder: JobFolder) -> list[str]:
    return (folder.path / "starts").read_text().splitlines()


def pids_of(record: dict[str, Any]) -> list[int]:
    return [record["pid"], record["job_pid"]]


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text()
    return int(stat[stat.rindex(")") + 2 :].split()[1])
