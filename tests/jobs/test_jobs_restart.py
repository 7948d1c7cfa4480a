"""Killing, stopping and restarting the manager; every manager here is a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.usefixtures("no_hang")


class Managers:
    """Starts ``tuning.py CONFIG e1`` and makes sure that nothing outlives the test."""

    def __init__(self, config: Path, run: Any) -> None:
        self.config, self.run = config, run
        self.live: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        manager = subprocess.Popen(
            [sys.executable, str(ROOT / "tuning.py"), str(self.config), "e1"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.live.append(manager)
        return manager

    def finish(self, manager: subprocess.Popen[str] | None = None) -> tuple[int, str]:
        """Exit code and output of a manager, a new one by default."""
        manager = manager or self.start()
        output, _ = manager.communicate(timeout=40)
        return manager.returncode, output

    def clean_up(self) -> None:
        for manager in self.live:
            manager.kill()
            manager.wait()
        for pid in self.run.pids():
            with contextlib.suppress(OSError):
                # Not by the pid alone: it may have become somebody else's.
                if str(self.run.path).encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def managers(
    project: Path, write_config: Callable[..., Path], seen: Callable[[Path], Any]
) -> Iterator[Callable[..., Managers]]:
    made: list[Managers] = []

    def make(arguments: str, **keys: Any) -> Managers:
        made.append(Managers(write_config(arguments, **keys), seen(project / "runs" / "e1")))
        return made[-1]

    yield make
    for managers in made:
        managers.clean_up()


def kill_once(managers: Managers, eventually: Callable[..., None], states: list[str]) -> None:
    """Start a manager and kill it with SIGKILL when the jobs have these states."""
    manager = managers.start()
    eventually(lambda: managers.run.states() == states and all_noted(managers.run), f"{states}")
    os.kill(manager.pid, signal.SIGKILL)
    manager.communicate()


def all_noted(run: Any) -> bool:
    """Whether every running job's program runs and its pid has been written."""
    running = [s for s in run.statuses() if s["state"] == "running"]
    return all(s["pid"] for s in running) and sum(map(bool, run.num_starts())) == sum(
        s != "queued" for s in run.states()
    )


def test_after_kill_9_finished_jobs_are_kept_and_running_ones_waited_for(
    managers: Callable[..., Managers], project: Path, eventually: Callable[..., None]
) -> None:
    m = managers("--do={ok, until:go+ok, sleep:0+ok}")
    kill_once(m, eventually, ["succeeded", "running", "queued"])
    second = m.start()
    eventually(lambda: "waiting for it" in json.dumps(m.run.events()), "adopted")
    # The one slot is taken by the adopted job: the third must wait.
    time.sleep(0.3)
    assert m.run.states() == ["succeeded", "running", "queued"]
    (project / "go").touch()
    code, output = m.finish(second)
    assert code == 0, output
    assert m.run.states() == ["succeeded"] * 3
    assert m.run.num_starts() == [1, 1, 1]
    assert [s["attempts"] for s in m.run.statuses()] == [1, 1, 1]


def test_a_job_that_ended_without_a_manager_is_read_from_its_result(
    managers: Callable[..., Managers],
    project: Path,
    eventually: Callable[..., None],
    alive: Callable[[int], bool],
) -> None:
    m = managers(
        "--do={until:go+ok, until:go+error:broken+exit:1, until:go+exit:0}", gpu_ids="0,1,2"
    )
    kill_once(m, eventually, ["running"] * 3)
    (project / "go").touch()
    eventually(lambda: not any(alive(pid) for pid in m.run.pids()), "the jobs have ended")
    code, output = m.finish()
    assert code == 1, output
    # The third left no result: it is run again, and is found out.
    assert m.run.states() == ["succeeded", "failed", "failed"]
    assert m.run.num_starts() == [1, 1, 2]
    assert "DataError: broken" in m.run.statuses()[1]["reason"]
    assert "lost: it was running when its manager died" in json.dumps(m.run.events())


def test_a_job_that_died_with_its_manager_is_run_again(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do='sleep:60%ok'")
    kill_once(m, eventually, ["running"])
    (pid,) = m.run.pids()
    os.killpg(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), "the job has ended")
    code, output = m.finish()
    assert code == 0, output
    assert m.run.num_starts() == [2]
    (folder,) = (m.run.path / "supernet").iterdir()
    assert (folder / "stdout.log").read_text().count("=== attempt") == 2


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_a_process_whose_pid_was_not_written_is_found(
    managers: Callable[..., Managers], project: Path, eventually: Callable[..., None]
) -> None:
    m = managers("--do=until:go+ok")
    kill_once(m, eventually, ["running"])
    (path,) = m.run.path.glob("supernet/*/status.json")
    status = json.loads(path.read_text())
    path.write_text(json.dumps(status | {"pid": None, "process_mark": None}))
    second = m.start()
    eventually(lambda: "waiting for it" in json.dumps(m.run.events()), "adopted")
    (project / "go").touch()
    assert m.finish(second)[0] == 0
    assert m.run.num_starts() == [1]


def test_a_pid_that_now_belongs_to_another_process_is_not_waited_for(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do='sleep:60%ok'")
    kill_once(m, eventually, ["running"])
    (pid,) = m.run.pids()
    os.killpg(pid, signal.SIGKILL)
    eventually(lambda: not alive(pid), "the job has ended")
    (path,) = m.run.path.glob("supernet/*/status.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pid": os.getpid()}))
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [2]


def test_a_job_of_another_host_is_not_started_a_second_time(
    managers: Callable[..., Managers], eventually: Callable[..., None]
) -> None:
    m = managers("--do=sleep:60+ok")
    kill_once(m, eventually, ["running"])
    (path,) = m.run.path.glob("supernet/*/status.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"host": "elsewhere"}))
    code, output = m.finish()
    assert code == 2
    assert "host elsewhere started this job" in output
    assert m.run.num_starts() == [1]


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_every_job_still_runs_once(
    seed: int, managers: Callable[..., Managers], project: Path
) -> None:
    chance = random.Random(seed)
    m = managers("--n={1,2,3,4,5,6,7,8,9,10,11,12} --do=sleep:0.15+ok", gpu_ids="cpu,cpu,cpu")
    for _ in range(6):
        manager = m.start()
        time.sleep(chance.uniform(0.15, 0.5))
        os.kill(manager.pid, signal.SIGKILL)
        manager.communicate()
    code, output = m.finish()
    assert code == 0, output
    assert m.run.states() == ["succeeded"] * 12
    assert m.run.num_starts() == [1] * 12
    assert m.run.status()["state"] == "finished"


def test_a_second_manager_is_refused(
    managers: Callable[..., Managers], project: Path, eventually: Callable[..., None]
) -> None:
    m = managers("--do=until:go+ok")
    first = m.start()
    eventually(lambda: m.run.states() == ["running"], "running")
    code, output = m.finish()
    assert code == 2
    assert f"pid {first.pid} on host {socket.gethostname()}" in output
    assert "Traceback" not in output
    (project / "go").touch()
    assert m.finish(first)[0] == 0
    assert m.run.num_starts() == [1]


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopping_leaves_no_process_and_a_state_to_go_on_from(
    number: int,
    expected: int,
    managers: Callable[..., Managers],
    project: Path,
    eventually: Callable[..., None],
    alive: Callable[[int], bool],
) -> None:
    m = managers(
        "--do={ok, 'child+sleep:60%ok', save_on_term+child+sleep:61%ok, sleep:0+ok}",
        gpu_ids="cpu,cpu",
    )
    manager = m.start()
    eventually(
        lambda: (
            m.run.states() == ["succeeded", "running", "running", "queued"]
            and len(m.run.pids()) == 5
        ),
        "two jobs with a child each",
    )
    time.sleep(0.1)
    os.kill(manager.pid, number)
    code, output = m.finish(manager)
    assert code == expected, output
    eventually(lambda: not any(alive(pid) for pid in m.run.pids()), "no process is left")
    name = signal.Signals(number).name
    assert m.run.states() == ["succeeded", "cancelled", "cancelled", "queued"]
    assert m.run.status()["state"] == "interrupted"
    assert m.run.status()["reason"] == f"stopped by {name}"
    assert f"stopped by {name}" in output
    assert m.run.events()[-1]["state"] == "interrupted"
    code, output = m.finish()
    assert code == 0, output
    assert m.run.num_starts() == [1, 2, 2, 1]


def test_a_second_signal_kills_jobs_that_do_not_listen(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do=stubborn+say:ready+sleep:60")
    manager = m.start()
    eventually(
        lambda: "\nready" in "".join(p.read_text() for p in m.run.path.glob("*/*/stdout.log")), "up"
    )
    begun = time.monotonic()
    os.kill(manager.pid, signal.SIGINT)
    time.sleep(0.3)
    assert manager.poll() is None
    os.kill(manager.pid, signal.SIGINT)
    code, output = m.finish(manager)
    assert code == 130, output
    assert time.monotonic() - begun < 9
    assert not any(alive(pid) for pid in m.run.pids())


def test_stopping_also_ends_adopted_jobs(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do=child+sleep:60")
    manager = m.start()
    eventually(lambda: len(m.run.pids()) == 2 and all_noted(m.run), "running")
    os.kill(manager.pid, signal.SIGKILL)
    manager.communicate()
    second = m.start()
    eventually(lambda: "waiting for it" in json.dumps(m.run.events()), "adopted")
    os.kill(second.pid, signal.SIGTERM)
    assert m.finish(second)[0] == 143
    eventually(lambda: not any(alive(pid) for pid in m.run.pids()), "no process is left")


def test_a_finished_run_does_nothing_again(managers: Callable[..., Managers]) -> None:
    m = managers("--do={ok, sleep:0+ok}")
    assert m.finish()[0] == 0
    code, output = m.finish()
    assert code == 0
    assert "2 of 2 jobs have ended before" in output
    assert m.run.num_starts() == [1, 1]


def test_failed_jobs_are_tried_again(managers: Callable[..., Managers]) -> None:
    m = managers("--do={ok, 'exit:1%ok'}")
    assert m.finish()[0] == 1
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [1, 2]


def test_a_result_that_is_gone_is_made_again(managers: Callable[..., Managers]) -> None:
    m = managers("--do=ok")
    assert m.finish()[0] == 0
    next(m.run.path.glob("supernet/*/result.json")).unlink()
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [2]


def test_the_same_id_with_other_jobs_is_refused(managers: Callable[..., Managers]) -> None:
    m = managers("--do=ok --a={1, 2}")
    assert m.finish()[0] == 0
    files = {
        p: p.read_bytes() for p in m.run.path.rglob("*") if p.is_file() and p.suffix == ".json"
    }
    m.config.write_text(m.config.read_text().replace("{1, 2}", "{1, 3}"))
    code, output = m.finish()
    assert code == 2
    assert "line 2 differs: it was" in output
    assert "--a={1, 2}" in output
    assert "--a={1, 3}" in output
    assert "--experiment_id" in output
    assert {path: path.read_bytes() for path in files} == files


def test_devices_may_change_between_restarts(managers: Callable[..., Managers]) -> None:
    m = managers("--do={ok, 'exit:1%ok'}")
    assert m.finish()[0] == 1
    text = m.config.read_text().replace("GPU_IDS:cpu", "GPU_IDS:7").replace("--do", "\n--do")
    m.config.write_text("# the same jobs on a GPU\n" + text)
    assert m.finish()[0] == 0
    assert [s["slot"] for s in m.run.statuses()] == ["cpu 0", "gpu 7"]


def test_a_run_folder_may_be_moved(managers: Callable[..., Managers], project: Path) -> None:
    m = managers("--do={ok, 'exit:1%ok'}")
    assert m.finish()[0] == 1
    shutil.move(project / "runs", project / "moved")
    (project / "runs").symlink_to("moved")
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [1, 2]


@pytest.mark.parametrize("name", ["job.json", "status.json"])
def test_a_damaged_folder_is_named(name: str, managers: Callable[..., Managers]) -> None:
    m = managers("--do=ok")
    assert m.finish()[0] == 0
    (path,) = m.run.path.glob(f"supernet/*/{name}")
    path.write_text('{"state": ')
    code, output = m.finish()
    assert code == 2
    assert f"{path.parent.name}: its job.json or status.json is damaged" in output


def test_a_half_made_job_of_a_killed_manager_is_removed(
    managers: Callable[..., Managers],
) -> None:
    m = managers("--do={ok, sleep:0+ok}")
    half_made = m.run.path / "supernet" / ".0001-do=x-ab12cd34"
    half_made.mkdir(parents=True)
    (half_made / "job.json").touch()
    assert m.finish()[0] == 0
    names = sorted(path.name[:4] for path in (m.run.path / "supernet").iterdir())
    assert names == ["0000", "0001"]


def test_a_folder_without_a_status_is_a_job_that_has_not_started(
    managers: Callable[..., Managers],
) -> None:
    m = managers("--do='exit:1%ok'")
    assert m.finish()[0] == 1
    (path,) = m.run.path.glob("supernet/*/status.json")
    path.unlink()
    assert m.finish()[0] == 0
