"""Killing, stopping and restarting the manager; every manager here is a process of its own."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dnas.cli.main import main as dnas
from tests.jobs.conftest import Managers

pytestmark = pytest.mark.usefixtures("no_hang")


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
    # Their supervisors have kept what nobody else could see: the exit codes.
    assert m.run.states() == ["succeeded", "failed", "failed"]
    assert m.run.num_starts() == [1, 1, 1]
    assert "exited 1: DataError: broken" in m.run.statuses()[1]["reason"]
    assert "exited 0 but wrote no result file" in m.run.statuses()[2]["reason"]


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
    assert "killed by SIGKILL from outside" in json.dumps(m.run.events())
    (folder,) = (m.run.path / "supernet").iterdir()
    assert (folder / "stdout.log").read_text().count("=== attempt") == 2


def test_a_job_whose_supervisor_is_killed_dies_with_it_and_runs_again(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do='child+sleep:60%ok'")
    manager = m.start()
    eventually(lambda: len(m.run.pids()) == 2 and all_noted(m.run), "running")
    os.kill(m.run.statuses()[0]["pid"], signal.SIGKILL)
    code, output = m.finish(manager)
    assert code == 0, output
    assert m.run.num_starts() == [2]
    assert [e["state"] for e in m.run.events() if e["job"]] == [
        "queued", "running", "lost", "queued", "running", "succeeded",
    ]  # fmt: skip
    assert not any(alive(pid) for pid in m.run.pids())


def test_a_supervisor_whose_pid_was_not_written_is_found(
    managers: Callable[..., Managers], project: Path, eventually: Callable[..., None]
) -> None:
    m = managers("--do=until:go+ok")
    kill_once(m, eventually, ["running"])
    change_status(m, pid=None, token={})
    second = m.start()
    eventually(lambda: "waiting for it" in json.dumps(m.run.events()), "adopted")
    (project / "go").touch()
    assert m.finish(second)[0] == 0
    assert m.run.num_starts() == [1]


def test_an_attempt_that_never_began_is_revoked_and_run_again(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do=ok --n={1, 2}")
    assert m.finish()[0] == 0
    # As if that manager had been killed after it said that the job runs, and before it started it.
    change_status(m, state="running", attempts=2, pid=None, token={})
    (folder, _) = sorted((m.run.path / "supernet").iterdir())
    (folder / "result.json").unlink()
    assert m.finish()[0] == 0
    assert json.loads((folder / "attempt.2.json").read_text()) == {"state": "revoked"}
    assert m.run.num_starts() == [2, 1]
    assert [s["attempts"] for s in m.run.statuses()] == [3, 1]


def change_status(managers: Managers, **fields: object) -> None:
    """Edit the first job's ``status.json``."""
    path = min(managers.run.path.glob("supernet/[!.]*/status.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_pid_that_now_belongs_to_another_process_is_not_waited_for(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do='sleep:60%ok'")
    kill_once(m, eventually, ["running"])
    (status,) = m.run.statuses()
    os.kill(status["pid"], signal.SIGKILL)
    eventually(lambda: not any(alive(pid) for pid in m.run.pids()), "the job has ended")
    change_status(m, pid=os.getpid(), token={**status["token"], "pid": os.getpid()})
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [2]


def test_a_job_of_another_host_is_watched_by_its_beat_and_then_lost(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do='sleep:60%ok'")
    kill_once(m, eventually, ["running"])
    (folder,) = (m.run.path / "supernet").iterdir()
    (pid,) = m.run.pids()
    (status,) = m.run.statuses()
    # The host goes: its supervisor stands still, and so does its beat.
    os.kill(status["pid"], signal.SIGSTOP)
    record = json.loads((folder / "attempt.1.json").read_text())
    (folder / "attempt.1.json").write_text(json.dumps(record | {"host": "elsewhere"}))
    second = m.start("--lost_after_s=2")
    eventually(lambda: "waiting for it" in json.dumps(m.run.events()), "watched")
    code, output = m.finish(second)
    assert code == 0, output
    assert "no sign of life from host elsewhere for 2 s" in json.dumps(m.run.events())
    assert m.run.num_starts() == [2]
    # The host comes back: its supervisor sees that the job runs elsewhere now, and ends it.
    assert alive(pid)
    os.kill(status["pid"], signal.SIGCONT)
    eventually(lambda: not alive(pid), "the former attempt has ended itself")
    assert m.run.states() == ["succeeded"]


@pytest.mark.parametrize("alive_still", [True, False])
def test_a_damaged_attempt_is_known_by_its_process(
    alive_still: bool,
    managers: Callable[..., Managers],
    project: Path,
    eventually: Callable[..., None],
    alive: Callable[[int], bool],
) -> None:
    m = managers("--do=until:go+ok")
    kill_once(m, eventually, ["running"])
    (folder,) = (m.run.path / "supernet").iterdir()
    (status,) = m.run.statuses()
    if not alive_still:
        os.kill(status["pid"], signal.SIGKILL)
        eventually(lambda: not any(alive(pid) for pid in m.run.pids()), "the job has ended")
    (folder / "attempt.1.json").write_text("{")
    (project / "go").touch()
    # Nobody waits for a beat: that would take longer than this test may.
    code, output = m.finish(m.start("--lost_after_s=3600"))
    assert code == 0, output
    assert m.run.num_starts() == [1 if alive_still else 2]


def test_a_living_job_of_another_host_is_waited_for(
    managers: Callable[..., Managers], project: Path, eventually: Callable[..., None]
) -> None:
    m = managers("--do=until:go+ok")
    kill_once(m, eventually, ["running"])
    (folder,) = (m.run.path / "supernet").iterdir()
    (status,) = m.run.statuses()
    record = json.loads((folder / "attempt.1.json").read_text())
    os.kill(status["pid"], signal.SIGSTOP)  # so that it does not write its real host again
    (folder / "attempt.1.json").write_text(json.dumps(record | {"host": "elsewhere"}))
    second = m.start("--lost_after_s=30")
    eventually(lambda: "waiting for it" in json.dumps(m.run.events()), "watched")
    os.kill(status["pid"], signal.SIGCONT)
    (project / "go").touch()
    code, output = m.finish(second)
    assert code == 0, output
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
    assert m.run.states() == ["succeeded", "queued", "queued", "queued"]
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
        lambda: "\nready" in "".join(p.read_text() for p in m.run.path.glob("*/[!.]*/stdout.log")),
        "up",
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
    assert "supernet jobs that have ended before and are kept: 2 succeeded" in output
    assert m.run.num_starts() == [1, 1]


def test_failed_jobs_are_kept_until_somebody_asks(
    managers: Callable[..., Managers], capsys: pytest.CaptureFixture[str]
) -> None:
    m = managers("--do={ok, 'exit:1%ok'}")
    assert m.finish()[0] == 1
    code, output = m.finish()
    assert code == 1
    assert "1 succeeded, 1 failed" in output
    assert m.run.num_starts() == [1, 1]
    assert dnas(["retry", str(m.run.path), "--failed"]) == 0
    assert "noted. No manager works on" in capsys.readouterr().out
    code, output = m.finish()
    assert code == 0, output
    assert m.run.num_starts() == [1, 2]
    assert list((m.run.path / "requests").iterdir()) == []


def test_a_result_that_is_gone_is_made_again(managers: Callable[..., Managers]) -> None:
    m = managers("--do=ok")
    assert m.finish()[0] == 0
    next(m.run.path.glob("supernet/[!.]*/result.json")).unlink()
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
    dnas(["retry", str(m.run.path), "--failed"])
    text = m.config.read_text().replace("GPU_IDS:cpu", "GPU_IDS:7").replace("--do", "\n--do")
    m.config.write_text("# the same jobs on a GPU\n" + text)
    assert m.finish()[0] == 0
    assert [s["slot"] for s in m.run.statuses()] == [["cpu 0"], ["gpu 7"]]


def test_a_run_folder_may_be_moved(managers: Callable[..., Managers], project: Path) -> None:
    m = managers("--do={ok, 'exit:1%ok'}")
    assert m.finish()[0] == 1
    shutil.move(project / "runs", project / "moved")
    (project / "runs").symlink_to("moved")
    dnas(["retry", str(m.run.path), "--failed"])
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [1, 2]


@pytest.mark.parametrize("damage", ["", '{"state": ', "[]", "\0\0\0\0"])
@pytest.mark.parametrize("name", ["job.json", "status.json"])
def test_a_damaged_file_is_made_anew(
    name: str, damage: str, managers: Callable[..., Managers]
) -> None:
    m = managers("--do={ok, exit:1, 'sleep:0+ok'}")
    assert m.finish()[0] == 1
    before = [(s["state"], s["attempts"]) for s in m.run.statuses()]
    described = [path.read_text() for path in sorted(m.run.path.glob("supernet/[!.]*/job.json"))]
    for path in m.run.path.glob(f"supernet/[!.]*/{name}"):
        path.write_text(damage)
    assert m.finish()[0] == 1
    assert [(s["state"], s["attempts"]) for s in m.run.statuses()] == before
    assert [p.read_text() for p in sorted(m.run.path.glob("supernet/[!.]*/job.json"))] == described
    assert m.run.num_starts() == [1, 1, 1]


def test_a_damaged_result_is_made_again(managers: Callable[..., Managers]) -> None:
    m = managers("--do=ok")
    assert m.finish()[0] == 0
    next(m.run.path.glob("supernet/[!.]*/result.json")).write_text('{"status": "succ')
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [2]
    assert json.loads(next(m.run.path.glob("supernet/[!.]*/result.json")).read_text())


def test_a_damaged_experiment_file_is_set_aside(managers: Callable[..., Managers]) -> None:
    m = managers("--do=ok")
    assert m.finish()[0] == 0
    (m.run.path / "experiment.json").write_text("{")
    code, output = m.finish()
    assert code == 0
    assert "experiment.json is damaged" in output
    assert (m.run.path / "experiment.damaged").read_text() == "{"
    assert "configs" in json.loads((m.run.path / "experiment.json").read_text())


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


def test_a_job_without_a_status_is_where_its_attempts_say(
    managers: Callable[..., Managers],
) -> None:
    m = managers("--do={ok, exit:1}")
    assert m.finish()[0] == 1
    for path in m.run.path.glob("supernet/[!.]*/status.json"):
        path.unlink()
    assert m.finish()[0] == 1
    assert m.run.states() == ["succeeded", "failed"]
    assert m.run.num_starts() == [1, 1]
