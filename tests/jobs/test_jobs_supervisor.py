"""The process that runs one attempt: claimed once, ended in time, nothing left, the end written."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
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

from dnas.jobs.attempt import claim, read_attempt, revoke
from dnas.jobs.executors import Order
from dnas.jobs.executors.base import ask_by_file
from dnas.jobs.processes import process_mark
from dnas.jobs.supervisor import EXIT_SUPERSEDED, supervisor_command
from dnas.runs import JobFolder
from tests.jobs.conftest import is_alive

pytestmark = pytest.mark.usefixtures("no_hang")


class Attempt:
    """An attempt that a supervisor runs."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.folder = JobFolder(path)
        self.supervisors: list[subprocess.Popen[bytes]] = []

    def order(self, program: str, attempt: int = 1, **settings: Any) -> None:
        """Have a Python program ordered; it runs in the job's folder."""
        Order(
            argv=settings.pop("argv", (sys.executable, "-S", "-c", program)),
            variables={"COLOUR": "green"},
            cwd=str(self.folder.path),
            attempt=attempt,
            **{"stop_grace_s": 30.0, "heartbeat_s": 0.1, **settings},
        ).write(self.folder)

    def start(
        self, attempt: int = 1, engine: str = "local", restart: int = 0
    ) -> subprocess.Popen[bytes]:
        self.supervisors.append(
            subprocess.Popen(
                supervisor_command(self.folder, attempt, engine, restart), start_new_session=True
            )
        )
        return self.supervisors[-1]

    def run(self, program: str, **settings: Any) -> int:
        """Order and run; gives the supervisor's exit code."""
        self.order(program, **settings)
        return self.start().wait(timeout=30)

    def record(self, attempt: int = 1) -> dict[str, Any]:
        return read_attempt(self.folder.attempt(attempt)) or {}

    def there(self, name: str) -> bool:
        return (self.folder.path / name).exists()

    def number(self, name: str) -> int:
        return int((self.folder.path / name).read_text() or 0)

    def log(self) -> str:
        return self.folder.log.read_text()


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Attempt]:
    """A job's folder; its supervisors, and thus their jobs, are killed in the end."""
    made = Attempt(tmp_path / "job")
    yield made
    for supervisor in made.supervisors:
        supervisor.kill()
        supervisor.wait()


def folder_in_the_place_of(file: Path) -> None:
    """So that it cannot be written any more; a beat may come in between."""
    while not file.is_dir():
        file.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):
            file.mkdir()


WAIT = """
import os, pathlib, time
pathlib.Path("pid").write_text(str(os.getpid()))
pathlib.Path("runs").touch()
while not os.path.exists("go"):
    time.sleep(0.01)
"""
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT


def race(path: str, number: int, start: Any, answers: Any) -> None:
    """One of several processes that all want the same attempts."""
    start.wait()
    for attempt in range(40):
        file = JobFolder(Path(path)).attempt(attempt)
        won = revoke(file) if (number + attempt) % 3 == 0 else claim(file, {"by": number})
        answers.put((attempt, number, won))


def test_of_many_that_want_an_attempt_one_gets_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, answers = context.Barrier(6), context.Queue()
    racers = [
        context.Process(target=race, args=(str(tmp_path), number, start, answers))
        for number in range(6)
    ]
    for racer in racers:
        racer.start()
    found = [answers.get(timeout=30) for _ in range(6 * 40)]
    for racer in racers:
        racer.join()
    winners = {attempt: number for attempt, number, won in found if won}
    assert sum(won for _, _, won in found) == len(winners) == 40
    for attempt, number in winners.items():
        expected = {"state": "revoked"} if (number + attempt) % 3 == 0 else {"by": number}
        assert read_attempt(JobFolder(tmp_path).attempt(attempt)) == expected
    assert len(list(tmp_path.iterdir())) == 40, "no temporary file is left"


def test_files_of_attempts_that_cannot_be_used(tmp_path: Path) -> None:
    file = tmp_path / "attempt.1.json"
    assert read_attempt(file) is None
    for damage in ("", "{", "[]", "3"):
        file.write_text(damage)
        assert read_attempt(file) == {}
        assert not claim(file, {}), "a damaged file is somebody's all the same"
    with pytest.raises(FileNotFoundError):
        claim(tmp_path / "gone" / "attempt.1.json", {})


def test_what_is_written_of_an_attempt(job: Attempt) -> None:
    job.folder.log.write_text("before\n")
    begun = time.time()
    assert job.run("import os; print('Hi', os.environ['COLOUR'], os.getcwd())") == 0
    record = job.record()
    assert job.log().splitlines()[0] == "before"
    assert job.log().splitlines()[-1] == f"Hi green {job.folder.path}"
    assert {key: record[key] for key in ("state", "end", "exit_code", "attempt", "restart")} == {
        "state": "ended", "end": "exited", "exit_code": 0, "attempt": 1, "restart": 0,
    }  # fmt: skip
    assert (record["host"], record["engine"]) == (socket.gethostname(), "local")
    assert record["pid"] == job.supervisors[0].pid
    assert record["start_error"] == ""
    assert record["out_of_memory_kills"] == 0
    assert 1 << 20 < record["peak_memory_bytes"] < 1 << 33
    assert record["free_disk_bytes"] > 0
    assert begun - 1 < record["started"] <= record["ended"] < time.time() + 1
    assert 0 < record["seconds"] < 30


def test_beats_count_up_while_the_job_runs(job: Attempt, eventually: Callable[..., None]) -> None:
    job.order(WAIT)
    supervisor = job.start()
    eventually(lambda: job.record().get("beat", 0) >= 3 and job.there("runs"), "three beats")
    record = job.record()
    assert record["state"] == "running"
    assert record["job_pid"] == job.number("pid")
    assert record["mark"] == process_mark(supervisor.pid)
    (job.folder.path / "go").touch()
    assert supervisor.wait(30) == 0
    ended = job.record()
    assert ended["beat"] >= record["beat"]
    time.sleep(0.3)
    assert job.record() == ended


@pytest.mark.parametrize(("ending", "code"), [("os._exit(7)", 7), ("os.kill(os.getpid(), 9)", 137)])
def test_the_supervisor_exits_as_its_job(job: Attempt, ending: str, code: int) -> None:
    assert job.run(f"import os; {ending}") == code
    assert job.record()["exit_code"] == (7 if code == 7 else -9)
    assert job.record()["end"] == "exited"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"argv": ("/no/such/program", "x")}, "No such file or directory: /no/such/program"),
        ({"argv": ("/etc/passwd",)}, "Permission denied: /etc/passwd"),
    ],
)
def test_a_job_that_cannot_start_is_an_end_with_a_reason(
    job: Attempt, settings: dict[str, Any], error: str
) -> None:
    assert job.run("", **settings) == 127
    record = job.record()
    assert (record["state"], record["exit_code"]) == ("ended", None)
    assert record["start_error"] == error


def test_a_folder_to_run_in_that_is_gone_is_an_end_with_a_reason(
    job: Attempt, tmp_path: Path
) -> None:
    job.order("pass")
    order = json.loads(job.folder.order.read_text())
    job.folder.order.write_text(json.dumps(order | {"cwd": str(tmp_path / "gone")}))
    assert job.start().wait(30) == 127
    assert job.record()["start_error"] == f"No such file or directory: {tmp_path / 'gone'}"


@pytest.mark.parametrize("order", [None, "", "[]", '{"attempt": 2}'])
def test_without_its_order_it_runs_nothing(job: Attempt, order: str | None) -> None:
    if order is not None:
        job.folder.order.write_text(order)
    assert job.start().wait(30) == EXIT_SUPERSEDED
    assert not job.folder.attempt(1).exists()


def test_of_several_supervisors_one_runs_the_job(job: Attempt) -> None:
    job.order("print('once')")
    codes = sorted(supervisor.wait(30) for supervisor in [job.start() for _ in range(4)])
    assert codes == [0] + [EXIT_SUPERSEDED] * 3
    assert job.log().splitlines().count("once") == 1


def test_a_revoked_attempt_is_not_run(job: Attempt) -> None:
    job.order("print('never')")
    assert revoke(job.folder.attempt(1))
    assert job.start().wait(30) == EXIT_SUPERSEDED
    assert job.record() == {"state": "revoked"}
    assert not job.folder.log.exists()


def test_a_job_whose_time_is_over_is_asked_and_then_killed(job: Attempt) -> None:
    begun = time.monotonic()
    assert job.run(STUBBORN, timeout_s=0.3, stop_grace_s=0.3) == 137
    assert 0.6 <= time.monotonic() - begun < 20
    record = job.record()
    assert (record["end"], record["exit_code"]) == ("timed_out", -9)
    assert record["seconds"] >= 0.6


def test_a_job_may_save_when_its_time_is_over(job: Attempt) -> None:
    program = f"import signal, os\nsignal.signal(signal.SIGTERM, lambda *_: os._exit(75))\n{WAIT}"
    assert job.run(program, timeout_s=2.0) == 75
    assert (job.record()["end"], job.record()["exit_code"]) == ("timed_out", 75)


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        (signal.SIGTERM, -signal.SIGTERM),
        (signal.SIGINT, -signal.SIGINT),
        (signal.SIGHUP, -signal.SIGHUP),
        (signal.SIGUSR1, -signal.SIGUSR1),
        (signal.SIGUSR2, -signal.SIGKILL),
    ],
)
def test_signals_are_passed_on_and_usr2_kills(
    job: Attempt, eventually: Callable[..., None], number: int, exit_code: int
) -> None:
    # Whoever started the tests may ignore some (nohup does), which is handed down.
    heeds = "import signal\nfor n in (1, 2):\n    signal.signal(n, signal.SIG_DFL)\n"
    job.order(heeds + WAIT)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    supervisor.send_signal(number)
    supervisor.wait(30)
    assert (job.record()["end"], job.record()["exit_code"]) == ("stopped", exit_code)


def test_usr2_kills_a_job_that_does_not_listen(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(STUBBORN)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGUSR2)
    assert supervisor.wait(30) == 137
    assert job.record()["end"] == "stopped"


@pytest.mark.parametrize(("kill", "exit_code"), [(False, -15), (True, -9)])
def test_a_request_by_file_ends_the_job(
    job: Attempt, eventually: Callable[..., None], kill: bool, exit_code: int
) -> None:
    job.order(WAIT)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    ask_by_file(job.folder, 1, kill=kill, grace_s=30)
    supervisor.wait(30)
    assert (job.record()["end"], job.record()["exit_code"]) == ("stopped", exit_code)


def test_a_request_by_file_has_a_grace_and_a_second_one_may_kill(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(STUBBORN)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    ask_by_file(job.folder, 1, kill=False, grace_s=600)
    beat = job.record()["beat"]
    eventually(lambda: job.record()["beat"] > beat + 3, "it has been asked")
    assert supervisor.poll() is None
    ask_by_file(job.folder, 1, kill=True, grace_s=0)
    assert supervisor.wait(30) == 137


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"attempt": 2, "kill": true}', "{}"])
def test_requests_for_others_and_damaged_ones_do_nothing(
    job: Attempt, eventually: Callable[..., None], text: str
) -> None:
    job.order(WAIT)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    job.folder.stop.write_text(text)
    job.folder.order.write_text(text if "attempt" not in text else "")
    beat = job.record()["beat"]
    eventually(lambda: job.record()["beat"] > beat + 3, "it has looked")
    (job.folder.path / "go").touch()
    assert supervisor.wait(30) == 0
    assert job.record()["end"] == "exited"


def test_a_newer_order_ends_the_older_attempt(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(STUBBORN)
    older = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    pid = job.number("pid")
    job.order("pass", attempt=2)
    assert older.wait(30) == 137
    assert not is_alive(pid)
    assert job.start(attempt=2).wait(30) == 0
    assert job.start(attempt=1).wait(30) == EXIT_SUPERSEDED
    assert (job.record(1)["end"], job.record(2)["end"]) == ("stopped", "exited")


def test_a_supervisor_may_be_stopped_and_continued(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(WAIT)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    os.kill(supervisor.pid, signal.SIGSTOP)
    time.sleep(0.5)  # longer than it waits for anything
    os.kill(supervisor.pid, signal.SIGCONT)
    beat = job.record()["beat"]
    eventually(lambda: job.record()["beat"] > beat + 1, "it beats again")
    (job.folder.path / "go").touch()
    assert supervisor.wait(30) == 0
    assert job.record()["end"] == "exited"


# ---- engines that start an attempt again by themselves ----------------------------------------


def test_a_requeued_attempt_goes_on_and_its_times_add_up(job: Attempt) -> None:
    job.order("import os; os._exit(75)")
    earlier = {"state": "running", "engine": "slurm 7", "restart": 0, "started": 100.0,
               "beat": 5, "beat_time": 130.0}  # fmt: skip
    assert claim(job.folder.attempt(1), earlier)
    assert job.start(engine="slurm 8", restart=1).wait(30) == EXIT_SUPERSEDED
    assert job.start(engine="slurm 7", restart=0).wait(30) == EXIT_SUPERSEDED
    assert job.start(engine="slurm 7", restart=1).wait(30) == 75
    record = job.record()
    assert (record["state"], record["restart"]) == ("ended", 1)
    assert 30 <= record["seconds"] < 60
    # It ended by itself: what its engine does now is no reason to run it again.
    assert job.start(engine="slurm 7", restart=2).wait(30) == EXIT_SUPERSEDED


def test_a_requeued_attempt_has_the_time_that_is_left(job: Attempt) -> None:
    job.order(WAIT, timeout_s=31)
    earlier = {"state": "ended", "end": "stopped", "engine": "slurm 7", "restart": 0,
               "started": 100.0, "seconds": 30.5}  # fmt: skip
    assert claim(job.folder.attempt(1), earlier)
    begun = time.monotonic()
    assert job.start(engine="slurm 7", restart=1).wait(30) == 128 + signal.SIGTERM
    assert time.monotonic() - begun < 20
    assert job.record()["end"] == "timed_out"
    assert 31 <= job.record()["seconds"] < 51


def test_a_host_that_comes_back_leaves_the_attempt_to_the_later_start(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(WAIT)
    first = job.start(engine="slurm 7")
    eventually(lambda: job.there("runs"), "it runs")
    pid = job.number("pid")
    os.kill(first.pid, signal.SIGSTOP)
    second = job.start(engine="slurm 7", restart=1)
    eventually(lambda: job.number("pid") not in (0, pid), "it runs elsewhere")
    os.kill(first.pid, signal.SIGCONT)
    first.wait(30)
    assert not is_alive(pid)
    assert is_alive(job.number("pid"))
    assert job.record()["pid"] == second.pid
    (job.folder.path / "go").touch()
    assert second.wait(30) == 0
    assert (job.record()["restart"], job.record()["exit_code"]) == (1, 0)


# ---- what is left -----------------------------------------------------------------------------

LEAVE = """
import os, signal, subprocess, sys
sleep = [sys.executable, "-S", "-c", "import signal, time\\n"
         "for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\\n"
         "print(1, flush=True)\\ntime.sleep(600)"]
pids = []
for session in (False, True):
    child = subprocess.Popen(sleep, start_new_session=session, stdout=subprocess.PIPE)
    child.stdout.readline()
    pids.append(child.pid)
# A daemon: its parent has gone, and it has a session of its own.
daemon = ("import subprocess, sys; p = subprocess.Popen(sys.argv[1:], start_new_session=True,"
          "stdout=subprocess.PIPE); p.stdout.readline(); print(p.pid)")
pids.append(int(subprocess.check_output([sys.executable, "-S", "-c", daemon, *sleep])))
with open("pids", "w") as file:
    print(*pids, file=file)
"""


@pytest.mark.parametrize("how", ["by itself", "asked", "its supervisor killed"])
def test_nothing_that_a_job_started_outlives_it(
    job: Attempt, eventually: Callable[..., None], how: str
) -> None:
    job.order(LEAVE + ("" if how == "by itself" else WAIT))
    supervisor = job.start()
    if how != "by itself":
        eventually(lambda: job.there("runs"), "it runs")
        supervisor.send_signal(signal.SIGTERM if how == "asked" else signal.SIGKILL)
    supervisor.wait(30)
    pids = [int(pid) for pid in (job.folder.path / "pids").read_text().split()]
    assert len(pids) == 3
    if how == "its supervisor killed":
        # The job itself dies with it; the others are for whoever clears after it.
        eventually(lambda: not is_alive(job.number("pid")), "the job has died")
        for pid in filter(is_alive, pids):
            os.kill(pid, signal.SIGKILL)
        return
    assert [pid for pid in pids if is_alive(pid)] == []


# ---- a disk that cannot be written ------------------------------------------------------------


def test_the_end_is_written_when_the_disk_can_be_written_again(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(WAIT)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    # A folder in its place: nobody can write that file, root included.
    file = job.folder.attempt(1)
    folder_in_the_place_of(file)
    (job.folder.path / "go").touch()
    eventually(lambda: "cannot be written yet" in job.log(), "it has tried")
    assert supervisor.poll() is None
    file.rmdir()
    assert supervisor.wait(30) == 0
    assert (job.record()["state"], job.record()["exit_code"]) == ("ended", 0)
    assert job.log().count("cannot be written yet") == 1


def test_it_does_not_wait_for_a_folder_that_was_deleted(
    job: Attempt, eventually: Callable[..., None], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    job.order(WAIT.replace('"go"', repr(str(go))))
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    job.folder.path.rename(tmp_path / "moved")
    go.touch()
    assert supervisor.wait(30) == 0
    assert not job.folder.path.exists()


def test_it_gives_up_a_disk_that_stays_full_when_it_is_killed(
    job: Attempt, eventually: Callable[..., None]
) -> None:
    job.order(WAIT)
    supervisor = job.start()
    eventually(lambda: job.there("runs"), "it runs")
    file = job.folder.attempt(1)
    folder_in_the_place_of(file)
    (job.folder.path / "go").touch()
    eventually(lambda: "cannot be written yet" in job.log(), "it has tried")
    supervisor.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    assert supervisor.poll() is None
    supervisor.send_signal(signal.SIGUSR2)
    assert supervisor.wait(30) == 0
