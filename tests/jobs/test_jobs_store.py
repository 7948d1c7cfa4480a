"""The jobs on the disk: a disk that refuses, half-made jobs, and many of them."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dnas.jobs.store
from dnas.files import append_json_line, write_json
from dnas.jobs.executors import DebugExecutor, Order
from dnas.jobs.job import Job, JobSpec, State
from dnas.jobs.manager import Manager
from dnas.jobs.store import JobStore, log_size, remove_temporary_files, set_aside_result
from dnas.runs import JobFolder, RunFolder
from tests.jobs.conftest import pool, specs

pytestmark = pytest.mark.usefixtures("no_fsync")


class Disk:
    """A disk that is full as long as ``full``, or from ``room`` writings on."""

    def __init__(self) -> None:
        self.full = False
        self.room: int | None = None

    def check(self, path: Path) -> None:
        if self.full or self.room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        if self.room is not None:
            self.room -= 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk that the store writes on."""
    found = Disk()

    def write(path: Path, value: Any, **options: Any) -> None:
        found.check(path)
        write_json(path, value, **options)

    def append(path: Path, value: Any) -> None:
        found.check(path)
        append_json_line(path, value)

    monkeypatch.setattr(dnas.jobs.store, "write_json", write)
    monkeypatch.setattr(dnas.jobs.store, "append_json_line", append)
    return found


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    path = tmp_path / "e"
    path.mkdir()
    return RunFolder(path)


def state_on_disk(job: Job) -> str:
    return str(json.loads(job.folder.status.read_text())["state"])


def test_what_a_full_disk_refuses_is_written_later_and_in_order(
    run: RunFolder, disk: Disk, seen: Callable[[Path], Any]
) -> None:
    store = JobStore(run)
    one, two = (store.create(spec) for spec in specs("supernet", 2))
    disk.full = True
    for number, (job, state) in enumerate(
        [(one, State.RUNNING), (two, State.RUNNING), (one, State.SUCCEEDED)]
    ):
        job.state, job.attempts = state, 1
        store.save(job)
        store.event(job, str(state), f"number {number}", pid=1, host="h")
    assert store.behind == "the run folder cannot be written: No space left on device"
    assert [state_on_disk(job) for job in (one, two)] == ["queued", "queued"]
    assert not store.catch_up()
    disk.full, disk.room = False, 2  # both states and no event
    assert not store.catch_up()
    assert [state_on_disk(job) for job in (one, two)] == ["succeeded", "running"]
    disk.room = None
    assert store.catch_up()
    assert store.behind == ""
    events = seen(run.path).events()
    assert [event["reason"] for event in events] == ["number 0", "number 1", "number 2"]
    assert [event["job"] for event in events] == [one.id, two.id, one.id]
    assert store.catch_up()
    assert len(seen(run.path).events()) == 3
    assert [job.state for job in JobStore(run)] == ["succeeded", "running"]


def test_a_job_that_cannot_be_made_leaves_nothing(run: RunFolder, disk: Disk) -> None:
    store = JobStore(run)
    first, second = specs("supernet", 2)
    for room in (0, 1):  # refused at its description, and at its status
        disk.room = room
        with pytest.raises(OSError, match="No space left"):
            store.create(first)
        assert list((run.path / "supernet").glob("*")) == []
        assert store.find(first) is None
        assert list(store) == []
    disk.room = None
    assert store.create(second).id.startswith("0000-")
    assert store.create(first).id.startswith("0001-")


def test_a_manager_waits_for_its_full_disk_and_goes_on(
    run: RunFolder, disk: Disk, no_hang: None, seen: Callable[[Path], Any]
) -> None:
    said = []

    def job(folder: JobFolder, order: Order) -> int:
        folder.result.write_text("{}")
        disk.full = len(said) == 0 and folder.path.name.startswith("0001")
        return 0

    def show(status: dict[str, Any]) -> None:
        if disk.full and status["waiting"]:
            said.append(status["waiting"])
            disk.full = False

    manager = Manager(run, pool(supernet=("0", 1)), executor=DebugExecutor(job), show=show)
    manager.add(specs("supernet", 4))
    assert manager.run().counts == {"supernet": {"succeeded": 4}}
    assert said == [
        [{"for": "the run folder cannot be written: No space left on device", "jobs": 2}]
    ]
    assert seen(run.path).states() == ["succeeded"] * 4
    ends = [event["job"][:4] for event in seen(run.path).events() if event["state"] == "succeeded"]
    assert ends == ["0000", "0001", "0002", "0003"]


def test_numbers_go_on_after_the_largest_and_kinds_count_for_themselves(run: RunFolder) -> None:
    for name in ("0003-x", "12345-y", "0007", "notes", ".0099-z"):
        (run.path / "supernet" / name).mkdir(parents=True)
    (run.path / "supernet" / "0500-file").touch()
    store = JobStore(run)
    assert store.create(specs("supernet", 1)[0]).id.startswith("12346-")
    assert store.create(specs("sampled", 1)[0]).id.startswith("0000-")
    assert not (run.path / "supernet" / ".0099-z").exists()
    assert (run.path / "supernet" / "notes").exists()


def test_what_was_made_is_found_again(run: RunFolder) -> None:
    spec = JobSpec(
        kind="sampled", argv=("python", "x", "é ''"), settings=(("lr", "0.5"), ("b", "")),
        architecture="/a/0.json", canonical_id="c1",
    )  # fmt: skip
    store = JobStore(run)
    job = store.create(spec)
    job.state, job.reason, job.attempts = State.LOST, "two\nlines", 3
    job.retries, job.token, job.slot = {"lost": 2}, {"pid": 3}, ("gpu 0", "gpu 1")
    job.pid, job.host, job.started, job.ended = 3, "h", 1.5, 2.5
    job.exit_code, job.log_offset = -9, 77
    store.save(job)
    (found,) = JobStore(run)
    assert found.spec == spec
    assert found.status() == job.status()
    assert JobStore(run).find(spec) is not None


def test_a_damaged_status_is_made_anew_from_the_attempts(
    run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    store = JobStore(run)
    begun, new = (store.create(spec) for spec in specs("supernet", 2))
    for number in (1, 2, 10):
        write_json(begun.folder.attempt(number), {"state": "ended"})
    begun.folder.status.write_text('{"state": "asleep"}')
    new.folder.status.unlink()
    with caplog.at_level(logging.WARNING):
        one, two = JobStore(run)
    assert (one.state, one.attempts) == (State.RUNNING, 10)
    assert one.reason == "its status.json was unusable (ValueError)"
    assert (two.state, two.attempts) == (State.QUEUED, 0)
    assert caplog.text.count("is unusable: made anew") == 2


def test_a_damaged_description_is_made_anew_when_the_config_names_the_job(
    run: RunFolder, disk: Disk
) -> None:
    spec = specs("supernet", 1)[0]
    job = JobStore(run).create(spec)
    described = job.folder.job.read_text()
    job.folder.job.write_text('{"id": ')
    store = JobStore(run)
    assert list(store) == []
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        store.find(spec)
    disk.full = False
    found = store.find(spec)
    assert found is not None
    assert (found.id, found.folder.job.read_text()) == (job.id, described)
    # Another job does not get its number.
    assert store.create(specs("supernet", 2)[1]).id.startswith("0001-")


def test_what_killed_writers_left_is_removed(run: RunFolder) -> None:
    left = [".status.0123abcd.tmp.json", ".theta.deadbeef.tmp.npz", ".x.0123abcd.tmp"]
    kept = ["status.json", ".status.json", "a.0123abcd.tmp.json", ".status.0123.tmp.json"]
    for name in left + kept:
        (run.path / name).touch()
    JobStore(run)
    assert sorted(path.name for path in run.path.iterdir()) == sorted(kept)
    remove_temporary_files(run.path / "nowhere")


def test_a_result_of_an_earlier_attempt_is_set_aside(run: RunFolder) -> None:
    folder = JobFolder(run.path)
    set_aside_result(folder, 1)
    folder.result.write_text("{}")
    set_aside_result(folder, 1)
    assert not folder.result.exists()
    assert (run.path / "result.attempt1.json").exists()
    assert log_size(folder.log) == 0
    folder.log.write_text("abc")
    assert log_size(folder.log) == 3


@pytest.mark.slow
def test_three_thousand_jobs_are_read_in_a_second(run: RunFolder) -> None:
    store = JobStore(run)
    for spec in specs("supernet", 3_000):
        store.create(spec)
    begun = time.process_time()
    found = JobStore(run)
    seconds = time.process_time() - begun
    print(f"3,000 jobs read in {seconds:.2f} s of CPU time")
    assert len(list(found)) == 3_000
    # About 0.3 s on a slow core.
    assert seconds < 3
