"""One manager for each run folder: who gets it, who is refused, and what a lost one does."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dnas.jobs.lock
from dnas.errors import JobError
from dnas.jobs.config import expand, load_config
from dnas.jobs.lock import RunLock, is_held, is_worked_on
from dnas.jobs.manager import Manager
from dnas.jobs.stages import slot_pool
from dnas.runs import RunFolder

HOST = socket.gethostname()
FOREIGN = {"pid": 7, "host": "elsewhere", "since": 1.0, "beat": 3, "released": False}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder that is not there yet."""
    return RunFolder(tmp_path / "e")


class Clock:
    """A clock that waiting moves on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        self.then: Callable[[float], None] = lambda waited_s: None
        fake = SimpleNamespace(
            monotonic=lambda: self.now_s, time=lambda: self.now_s, sleep=self.sleep
        )
        monkeypatch.setattr(dnas.jobs.lock, "time", fake)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.then(self.now_s - 1000.0)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The time, as the lock sees it."""
    return Clock(monkeypatch)


def write(run: RunFolder, value: object) -> None:
    run.path.mkdir(exist_ok=True)
    run.lock.write_text(value if isinstance(value, str) else json.dumps(value))


def read(run: RunFolder) -> dict[str, Any]:
    return dict(json.loads(run.lock.read_text()))


def test_it_is_held_until_it_is_given_back(run: RunFolder) -> None:
    assert not is_held(run)
    with RunLock(run):
        assert is_held(run)
        holder = read(run)
        assert (holder["pid"], holder["host"], holder["released"]) == (os.getpid(), HOST, False)
    assert not is_held(run)
    assert read(run)["released"]
    with RunLock(run):
        assert is_held(run)


def test_a_second_manager_is_refused_and_the_first_named(run: RunFolder) -> None:
    with RunLock(run):
        with pytest.raises(JobError) as caught:
            RunLock(run).__enter__()
        assert str(caught.value) == (
            f"{run.path}: a manager with pid {os.getpid()} on host {HOST} is working on this "
            "experiment; wait for it, stop it, or choose another experiment id"
        )
        assert is_held(run)


def test_asking_whether_it_is_held_does_not_keep_a_manager_out(
    run: RunFolder, clock: Clock
) -> None:
    write(run, "")
    asking = os.open(run.lock, os.O_RDONLY)
    fcntl.flock(asking, fcntl.LOCK_SH)
    clock.then = lambda waited_s: os.close(asking)
    with RunLock(run):
        assert clock.now_s == pytest.approx(1000.1)


def test_a_dead_manager_of_this_host_is_followed_at_once(run: RunFolder, clock: Clock) -> None:
    write(run, FOREIGN | {"host": HOST})
    with RunLock(run, clock.sleep):
        assert read(run)["pid"] == os.getpid()
    assert clock.now_s == 1000.0


def test_a_foreign_beat_that_stands_still_is_taken_over_after_the_lease(
    run: RunFolder, clock: Clock
) -> None:
    write(run, FOREIGN)
    with RunLock(run, clock.sleep):
        assert clock.now_s == 1030.0
        assert read(run)["host"] == HOST


def test_a_foreign_beat_that_changes_is_not(run: RunFolder, clock: Clock) -> None:
    write(run, FOREIGN)
    clock.then = lambda waited_s: write(run, FOREIGN | {"beat": 4}) if waited_s == 29 else None
    with pytest.raises(JobError, match="pid 7 on host elsewhere is working"):
        RunLock(run, clock.sleep).__enter__()
    assert clock.now_s == 1029.0
    assert read(run) == FOREIGN | {"beat": 4}
    assert not is_held(run)


def test_a_foreign_manager_that_ends_meanwhile_is_followed_at_once(
    run: RunFolder, clock: Clock
) -> None:
    write(run, FOREIGN)
    gone = FOREIGN | {"beat": 4, "released": True}
    clock.then = lambda waited_s: write(run, gone) if waited_s == 2 else None
    with RunLock(run, clock.sleep):
        assert clock.now_s == 1002.0


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_as_such(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Lustre without ``-o flock``, say: nobody holds it, and nobody can."""

    def flock(handle: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(dnas.jobs.lock.fcntl, "flock", flock)
    with pytest.raises(JobError, match=rf"cannot be locked there \(flock: {os.strerror(number)}"):
        RunLock(run).__enter__()
    assert not is_held(run)


def test_a_run_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(JobError, match=r"file/e: cannot be a run folder: Not a directory"):
        RunLock(RunFolder(tmp_path / "file" / "e")).__enter__()


@pytest.mark.parametrize("damage", ["", "{", "[]", "3", "\0" * 256, '{"pid": 7}'])
def test_a_damaged_lock_file_keeps_nobody_out(run: RunFolder, clock: Clock, damage: str) -> None:
    write(run, damage)
    assert not is_held(run)
    with RunLock(run, clock.sleep) as lock:
        assert read(run)["pid"] == os.getpid()
        write(run, damage)
        clock.now_s += 6
        if damage != '{"pid": 7}':
            lock.beat()
            assert read(run)["beat"] == 1
        with pytest.raises(JobError, match="is working on this experiment"):
            RunLock(run).__enter__()


def test_beats_are_written_every_few_seconds(run: RunFolder, clock: Clock) -> None:
    with RunLock(run) as lock:
        beats = []
        for _ in range(12):
            clock.now_s += 1
            lock.beat()
            beats.append(read(run)["beat"])
    assert beats == [1] * 5 + [2] * 5 + [3] * 2
    clock.now_s += 100
    lock.beat()  # no longer its own
    assert read(run)["beat"] == 3


def test_who_has_lost_it_is_told_and_leaves_the_others_name(run: RunFolder, clock: Clock) -> None:
    with RunLock(run) as lock:
        write(run, FOREIGN)
        clock.now_s += 6
        with pytest.raises(JobError, match="pid 7 on host elsewhere has taken over"):
            lock.beat()
    assert read(run) == FOREIGN


def test_whether_a_manager_works_as_seen_from_here(run: RunFolder) -> None:
    assert is_worked_on(run) is False
    with RunLock(run):
        assert is_worked_on(run) is True
    assert is_worked_on(run) is False
    write(run, FOREIGN)
    assert is_worked_on(run) is None
    write(run, FOREIGN | {"host": HOST})  # killed
    assert is_worked_on(run) is False
    for value in (FOREIGN | {"released": True}, "{", "[]", '{"host": 3}', ""):
        write(run, value)
        assert is_worked_on(run) is False


@pytest.mark.usefixtures("no_hang")
def test_a_manager_that_has_lost_it_ends_with_its_jobs(
    project: Path,
    write_config: Callable[..., Path],
    seen: Callable[[Path], Any],
    alive: Callable[[int], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = load_config(write_config("--do=child+sleep:600"))
    folder = RunFolder(project / "e")
    view = seen(folder.path)

    def show(status: dict[str, object]) -> None:
        if len(view.pids()) == 2:
            write(folder, FOREIGN)

    monkeypatch.setattr(dnas.jobs.lock, "_BEAT_S", 0.0)
    manager = Manager(folder, slot_pool({"supernet": config}), show=show)
    manager.add(expand(config))
    with pytest.raises(JobError, match="has taken over"):
        manager.run()
    assert not any(alive(pid) for pid in view.pids())
    assert read(folder) == FOREIGN
    # The one that took over says where the run stands, and what became of the job.
    assert view.states() == ["running"]
    assert view.status()["state"] == "running"
