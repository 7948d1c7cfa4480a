"""What a manager does when the system refuses: writing, starting, submitting, asking."""

from __future__ import annotations

import errno
import itertools
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dnas.files import read_json, write_json
from dnas.jobs import requests
from dnas.jobs.executors import DebugExecutor, Handle, LocalExecutor, Order
from dnas.jobs.executors import local as local_executor
from dnas.jobs.executors.slurm_submit import _refusal
from dnas.jobs.job import Job, JobSpec, State
from dnas.jobs.manager import Manager
from dnas.jobs.store import JobStore
from dnas.runs import SAMPLED, SUPERNET, JobFolder, RunFolder
from tests.jobs.conftest import pool, specs

pytestmark = pytest.mark.usefixtures("no_hang", "no_fsync")


def succeed(folder: JobFolder, order: Order) -> int:
    folder.result.write_text('{"status": "succeeded"}')
    return 0


def manager_of(run: RunFolder, executor: Any = None, **more: Any) -> Manager:
    slots = pool(supernet=("cpu,cpu", 1), sampled=("cpu", 1))
    return Manager(run, slots, executor=executor or DebugExecutor(succeed), **more)


# -------------------------------------------------------------------------------- a full disk


class Follow:
    """Two sampled jobs after each supernet; the disk is full for the first so many calls."""

    def __init__(self, full: int) -> None:
        self.full = full

    def __call__(self, job: Job) -> list[JobSpec]:
        if job.kind != SUPERNET:
            return []
        self.full -= 1
        if self.full >= 0:
            raise OSError(errno.ENOSPC, "No space left on device", "experiment.json")
        return specs(SAMPLED, 2)


def test_what_follows_from_a_job_waits_for_the_disk(tmp_path: Path) -> None:
    shown: list[Any] = []
    manager = manager_of(
        RunFolder(tmp_path / "e"), on_finished=Follow(full=6), show=lambda s: shown.append(dict(s))
    )
    manager.add(specs(SUPERNET, 2))
    outcome = manager.run()
    assert (outcome.state, outcome.counts[SAMPLED]) == ("finished", {"succeeded": 2})
    reason = "the run folder cannot be written: No space left on device"
    assert any(reason in (each["for"] for each in status["waiting"]) for status in shown)


def test_nor_is_it_forgotten_when_a_run_goes_on(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "e")
    first = manager_of(run)
    first.add(specs(SUPERNET, 2))
    assert first.run().state == "finished"
    second = manager_of(run, on_finished=Follow(full=1))
    second.add(specs(SUPERNET, 2))
    outcome = second.run()
    assert outcome.counts == {SUPERNET: {"succeeded": 2}, SAMPLED: {"succeeded": 2}}
    assert outcome.exit_code == 0


# -------------------------------------------------------------------------------- starting


def test_a_start_that_fails_after_others_takes_nobody_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more processes: the others of its wave go on, and it is tried again."""
    starts = []

    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **keys: Any) -> None:
            starts.append(args)
            if len(starts) == 2:
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            super().__init__(*args, **keys)

    monkeypatch.setattr(local_executor.subprocess, "Popen", Popen)
    job = tmp_path / "job.sh"
    job.write_text('#!/bin/sh\nprintf \'{"status": "succeeded"}\' > "$1"\n')
    job.chmod(0o755)
    run = RunFolder(tmp_path / "e")
    manager = manager_of(run, LocalExecutor(warm=False))
    argv = (str(job), "SAVE_METRICS_PARAM")
    manager.add([JobSpec(kind=SUPERNET, argv=(*argv, str(n))) for n in range(2)])
    outcome = manager.run()
    assert (outcome.state, outcome.counts) == ("finished", {SUPERNET: {"succeeded": 2}})
    assert len(starts) == 3


class Closed(DebugExecutor):
    """Takes no jobs at first."""

    def __init__(self, refusals: int) -> None:
        super().__init__(succeed)
        self.refusals, self.asked = refusals, 0

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        self.asked += 1
        if self.asked <= self.refusals:
            raise OSError("cannot contact the controller")
        return super().submit(orders)


def test_an_engine_that_takes_no_jobs_is_asked_less_and_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    now = [0.0]
    executor = Closed(9)
    monkeypatch.setattr("dnas.jobs.launcher.time.monotonic", lambda: now[0])

    def poll(timeout_s: float) -> list[Handle]:
        now[0] += 0.5
        ended, executor._ended = executor._ended, []
        return ended

    monkeypatch.setattr(executor, "poll", poll)
    submit = executor.submit

    def noting(orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        waits.append(now[0])
        return submit(orders)

    monkeypatch.setattr(executor, "submit", noting)
    run = RunFolder(tmp_path / "e")
    manager = manager_of(run, executor)
    manager.add(specs(SUPERNET, 1))
    assert manager.run().state == "finished"
    between = [round(later - before, 1) for before, later in itertools.pairwise(waits)]
    assert between == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    (folder,) = run.jobs(SUPERNET)
    assert read_json(folder.status)["attempts"] == 1  # what was not taken was no attempt


@pytest.mark.parametrize(
    ("said", "later"),
    [
        ("Unable to contact slurm controller (connect failure)", True),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
         True),
        ("Requested time limit is invalid (missing or exceeds some limit)", False),
        ("invalid partition specified: gpus", False),
    ],
)  # fmt: skip
def test_refusals_of_slurm_that_will_not_change_end_the_run(said: str, later: bool) -> None:
    error = _refusal(f"sbatch: error: Batch job submission failed: {said}")
    assert isinstance(error, OSError) is later


# -------------------------------------------------------------------------------- asking


def test_cancelling_a_job_that_another_session_left_running(tmp_path: Path) -> None:
    """It is not this session's: its supervisor is asked, and whoever has it next is told."""
    run = RunFolder(tmp_path / "e")
    first = manager_of(run)
    first.add(specs(SUPERNET, 1))
    first.run()
    (folder,) = run.jobs(SUPERNET)
    write_json(folder.status, {**read_json(folder.status), "state": "running"})
    folder.result.unlink()
    folder.attempt(1).unlink()  # nothing says how it ended
    requests.ask(run, "cancel", [(SUPERNET, folder.path.name)])
    second = manager_of(run)
    second.add(specs(SAMPLED, 1))
    assert second.run().state == "finished"
    assert read_json(folder.stop)["attempt"] == 1
    assert read_json(folder.status)["state"] == "running"
    third = manager_of(run)
    third.add(specs(SUPERNET, 1))
    assert third.run().counts[SUPERNET] == {"cancelled": 1}
    assert list(run.requests.iterdir()) == []


# -------------------------------------------------------------------------------- adopting


def test_nothing_starts_before_running_jobs_are_taken_in(tmp_path: Path) -> None:
    """Their devices look free until then, also where they come after hundreds of others."""
    job = tmp_path / "job.sh"
    job.write_text(
        f"#!/bin/sh\necho start $2 >> {tmp_path}/log\nsleep $3\necho end $2 >> {tmp_path}/log\n"
        'printf \'{"status": "succeeded"}\' > "$1"\n'
    )
    job.chmod(0o755)
    run, number = RunFolder(tmp_path / "e"), 410
    store = JobStore(run)
    jobs = [
        store.create(JobSpec(kind=SAMPLED, argv=(str(job), "SAVE_METRICS_PARAM", str(n), "1")))
        for n in range(number)
    ]
    for middle in jobs[1:-1]:
        middle.state, middle.attempts = State.SUCCEEDED, 1
        middle.folder.result.write_text('{"status": "succeeded"}')
        store.save(middle)
    last, executor = jobs[-1], LocalExecutor(warm=False)
    last.state, last.attempts, last.slot = State.RUNNING, 1, ("cpu 0",)
    last.host = socket.gethostname()
    argv = (str(job), str(last.folder.result), "last", "1")
    order = Order(argv=argv, variables={}, cwd=str(tmp_path), attempt=1)
    order.write(last.folder)
    (handle,) = executor.submit([(last.folder, order)])
    last.token, last.pid = handle.token, handle.pid
    store.save(last)
    manager = manager_of(run, LocalExecutor(warm=False))
    manager.add([each.spec for each in jobs])
    assert manager.run().counts == {SAMPLED: {"succeeded": number}}
    log = (tmp_path / "log").read_text().splitlines()
    assert log == ["start last", "end last", "start 0", "end 0"]
