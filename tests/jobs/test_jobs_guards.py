"""Too little memory or disk: what is said, who waits, and that it goes on when there is room."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dnas.jobs.guards
from dnas.jobs.executors import Executor, Handle, Order
from dnas.jobs.guards import Guards, mib
from dnas.jobs.manager import Manager
from dnas.jobs.policy import Policy
from dnas.runs import JobFolder, RunFolder
from tests.jobs.conftest import pool, specs, write_attempt

pytestmark = pytest.mark.usefixtures("no_hang", "no_fsync")

MIB = 1 << 20


class Machine:
    """What the kernel says."""

    memory: int | None = 100_000 * MIB
    disk: int = 100_000 * MIB


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The readings that guards get."""
    found = Machine()
    monkeypatch.setattr(dnas.jobs.guards, "available_memory_bytes", lambda: found.memory)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=found.disk))
    return found


GUARDS = Guards(min_free_memory_bytes=1000 * MIB, min_free_disk_bytes=50 * MIB)


def test_disk(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.disk = 50 * MIB
    assert GUARDS.why_no_disk(tmp_path) == ""
    machine.disk -= 1
    assert GUARDS.why_no_disk(tmp_path) == (
        f"the disk of {tmp_path} has 50 MiB free, and 50 MiB are wanted before a job starts "
        "(--min_free_disk_gb)"
    )
    monkeypatch.undo()
    gone = tmp_path / "gone"
    assert GUARDS.why_no_disk(gone) == f"{gone} cannot be read: No such file or directory"
    assert mib(3 * 1024 * MIB) == "3,072 MiB"


def test_memory_counts_what_young_jobs_will_still_take(machine: Machine) -> None:
    now = time.monotonic()
    young, old = (now - 5, 300 * MIB), (now - 3600, 7000 * MIB)
    machine.memory = 1700 * MIB
    assert GUARDS.why_no_memory(400 * MIB, [young, old]) == ""
    machine.memory -= 1
    assert GUARDS.why_no_memory(400 * MIB, [young, old]) == (
        "host memory: 1,700 MiB available, 300 MiB still to be taken by jobs that have just "
        "started, 400 MiB expected for this one, and 1,000 MiB are to stay free "
        "(--min_free_memory_gb)"
    )
    assert GUARDS.why_no_memory(400 * MIB, [old]) == ""


def test_one_job_always_runs_and_an_unknown_memory_stops_none(machine: Machine) -> None:
    machine.memory = 0
    assert GUARDS.why_no_memory(400 * MIB, []) == ""
    assert GUARDS.why_no_memory(0, [(time.monotonic(), 0)]).startswith("host memory: 0 MiB")
    machine.memory = None
    assert GUARDS.why_no_memory(400 * MIB, [(time.monotonic(), 0)]) == ""


class Held(Executor):
    """Jobs that run until the test lets one go, or for one look of the manager."""

    name = "held"

    def __init__(self, peak_bytes: int = 0) -> None:
        self.running: list[Handle] = []
        self.most = 0
        self.hold = False
        self.peak_bytes = peak_bytes

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        handles = [Handle(folder, order.attempt) for folder, order in orders]
        self.running += handles
        self.most = max(self.most, len(self.running))
        return handles

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        return None

    def poll(self, timeout_s: float) -> list[Handle]:
        if self.hold or not self.running:
            time.sleep(min(timeout_s, 0.02))
            return []
        handle = self.running.pop(0)
        handle.folder.result.write_text("{}")
        write_attempt(handle.folder, handle.attempt, peak_memory_bytes=self.peak_bytes)
        return [handle]

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        raise AssertionError("nothing is stopped here")


def manage(
    folder: Path, executor: Held, num_jobs: int, show: Callable[[dict[str, Any]], None]
) -> dict[str, int]:
    manager = Manager(
        RunFolder(folder), pool(supernet=("0,1,2,3", 1)), executor=executor,
        policy=Policy(guards=GUARDS), show=show,
    )  # fmt: skip
    manager.add(specs("supernet", num_jobs))
    return dict(manager.run().counts["supernet"])


def test_a_full_disk_holds_the_queue_until_there_is_room(
    machine: Machine, tmp_path: Path, seen: Callable[[Path], Any]
) -> None:
    machine.disk, executor, said = 10 * MIB, Held(), []

    def show(status: dict[str, Any]) -> None:
        if machine.disk < 50 * MIB and status["waiting"]:
            assert executor.most == 0
            said.append(seen(tmp_path / "e").status()["waiting"])
            machine.disk = 60 * MIB

    assert manage(tmp_path / "e", executor, 3, show) == {"succeeded": 3}
    [[waiting]] = said
    assert waiting["jobs"] == 3
    assert waiting["for"].startswith(f"the disk of {tmp_path / 'e'} has 10 MiB free, and 50 MiB")
    assert seen(tmp_path / "e").status()["waiting"] == []


def test_with_too_little_memory_one_job_runs_and_then_all_that_fit(
    machine: Machine, tmp_path: Path
) -> None:
    machine.memory, executor, said = 500 * MIB, Held(), []

    def show(status: dict[str, Any]) -> None:
        if status["running"] and machine.memory == 500 * MIB:
            executor.hold = True
            if said and said[-1] == status["waiting"]:  # nothing has changed for a second look
                assert executor.most == 1
                machine.memory, executor.hold = 100_000 * MIB, False
            said.append(status["waiting"])

    assert manage(tmp_path / "e", executor, 9, show) == {"succeeded": 9}
    assert executor.most == 4
    assert said[0][0]["jobs"] == 8
    assert said[0][0]["for"].startswith("host memory: 500 MiB available, 0 MiB still to be")


def test_what_the_largest_job_took_is_expected_of_the_next(
    machine: Machine, tmp_path: Path
) -> None:
    # 2000 MiB were taken by the first. Of the 5500 that are there 1000 are to stay free: two fit.
    machine.memory, executor = 5500 * MIB, Held(peak_bytes=2000 * MIB)
    first, *others = specs("supernet", 10)
    manager = Manager(
        RunFolder(tmp_path / "e"), pool(supernet=("0,1,2,3", 1)), executor=executor,
        policy=Policy(guards=GUARDS),
        on_finished=lambda job: others if job.spec == first else [],
    )  # fmt: skip
    manager.add([first])
    assert manager.run().counts == {"supernet": {"succeeded": 10}}
    assert executor.most == 2
