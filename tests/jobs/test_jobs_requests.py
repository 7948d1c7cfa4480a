"""``dnas cancel`` and ``dnas retry``: which jobs are meant, and what becomes of them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from dnas.cli.main import main as dnas
from dnas.errors import JobError
from dnas.files import read_json
from dnas.jobs import requests
from dnas.jobs.executors import DebugExecutor, Executor, Handle, Order
from dnas.jobs.job import JobSpec
from dnas.jobs.manager import Manager
from dnas.jobs.outcome import Outcome
from dnas.runs import JobFolder, RunFolder
from tests.jobs.conftest import Managers, pool, specs, write_attempt

JOBS = [
    ("supernet", "0000-a=1-ab12cd34"),
    ("supernet", "0001-a=2-ab12cd34"),
    ("supernet", "0010-a=3-ab12cd34"),
    ("sampled", "0000-b=1-99887766"),
    ("sampled", "00"),
]


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["supernet/0000-a=1-ab12cd34"], [0]),
        (["0001-a=2-ab12cd34"], [1]),
        (["0001"], [1]),
        (["supernet/0000", "sampled/0000"], [0, 3]),
        (["001"], [2]),
        (["00"], [4]),  # its whole id, though others begin so
        (["sampled/0000-b=1-99887766/"], [3]),  # as a shell completes a folder
        ([], []),
    ],
)
def test_names_and_beginnings_of_names(names: list[str], numbers: list[int]) -> None:
    assert requests.select(names, JOBS) == [JOBS[number] for number in numbers]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("0002", "there is no job '0002'; dnas status shows the jobs of a run"),
        ("1", "there is no job '1'"),
        ("0000", "'0000' fits 2 jobs (sampled/0000-b=1-99887766, supernet/0000-a=1-ab12cd34, ...)"),
        ("supernet", "'supernet' fits 3 jobs"),
        ("", "'' fits 5 jobs"),
    ],
)
def test_names_that_fit_no_job_or_several(name: str, message: str) -> None:
    with pytest.raises(JobError) as caught:
        requests.select([name], JOBS)
    assert message in str(caught.value)


def test_requests_are_heard_in_their_order(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert requests.pending(run) == []
    files = [
        requests.ask(run, action, [job])
        for action, job in zip(["retry", "cancel", "retry"], JOBS, strict=False)
    ]
    found = requests.pending(run)
    assert [(r.action, r.jobs, r.file) for r in found] == [
        ("retry", (JOBS[0],), files[0]),
        ("cancel", (JOBS[1],), files[1]),
        ("retry", (JOBS[2],), files[2]),
    ]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '"cancel"', '{"action": "cancel"}', '{"action": "retry", "jobs": ["0000"]}',
     '{"action": "retry", "jobs": 3}', '{"action": "sing", "jobs": [["supernet", "0"]]}', "\xff"],
)  # fmt: skip
def test_a_damaged_request_is_set_aside(tmp_path: Path, text: str) -> None:
    run = RunFolder(tmp_path)
    good = requests.ask(run, "cancel", JOBS)
    bad = run.requests / "1-damaged.json"
    bad.write_text(text, encoding="latin-1")
    assert [r.file for r in requests.pending(run)] == [good]
    assert not bad.exists()
    assert (run.requests / "1-damaged.damaged").read_text(encoding="latin-1") == text
    assert [r.file for r in requests.pending(run)] == [good]


def test_a_request_that_cannot_be_read_now_is_left(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (run.requests / "1.json").mkdir(parents=True)
    good = requests.ask(run, "cancel", JOBS)
    assert [r.file for r in requests.pending(run)] == [good]
    assert (run.requests / "1.json").is_dir()


# ---- with managers ----------------------------------------------------------------------------

live = pytest.mark.usefixtures("no_hang")


def has_said(run: Any, word: str) -> bool:
    return any(f"\n{word}\n" in p.read_text() for p in run.path.glob("*/[!.]*/stdout.log"))


@live
def test_running_and_queued_jobs_are_cancelled_and_the_others_go_on(
    managers: Callable[..., Managers],
    eventually: Callable[..., None],
    alive: Callable[[int], bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    m = managers("--do={save_on_term+say:ready+sleep:60, ok, sleep:0+ok}")
    manager = m.start()
    eventually(lambda: has_said(m.run, "ready") and len(m.run.states()) == 3, "it runs")
    assert dnas(["cancel", str(m.run.path), "0000", "supernet/0001"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("cancel supernet/0000-do=")
    assert out.endswith("the manager has heard it\n")
    code, output = m.finish(manager)
    assert code == 0, output
    assert m.run.states() == ["cancelled", "cancelled", "succeeded"]
    assert m.run.num_starts() == [1, 0, 1]
    # The one that ran could save.
    assert m.run.results()[0] == {"status": "preempted"}
    assert [s["reason"] for s in m.run.statuses()[:2]] == ["cancelled on request"] * 2
    assert m.run.status()["state"] == "finished"
    assert m.run.status()["failures"] == []
    assert not any(alive(pid) for pid in m.run.pids())
    assert list((m.run.path / "requests").iterdir()) == []
    # A later start leaves them alone, and they can be asked for again.
    assert m.finish()[0] == 0
    assert m.run.num_starts() == [1, 0, 1]
    assert dnas(["retry", str(m.run.path), "0001"]) == 0
    assert m.finish()[0] == 0
    assert m.run.states() == ["cancelled", "succeeded", "succeeded"]


@live
def test_cancelled_a_second_time_a_job_is_killed(
    managers: Callable[..., Managers], eventually: Callable[..., None], alive: Callable[[int], bool]
) -> None:
    m = managers("--do=stubborn+say:ready+sleep:60")
    manager = m.start()
    eventually(lambda: has_said(m.run, "ready"), "it runs")
    (pid,) = m.run.pids()
    assert dnas(["cancel", str(m.run.path), "0000"]) == 0
    assert alive(pid)
    assert dnas(["cancel", str(m.run.path), "0000"]) == 0
    code, output = m.finish(manager)
    assert code == 0, output
    assert m.run.states() == ["cancelled"]
    assert m.run.statuses()[0]["exit_code"] == -signal.SIGKILL
    assert not alive(pid)


@live
def test_without_a_manager_the_supervisor_is_asked_and_the_next_manager_told(
    managers: Callable[..., Managers],
    eventually: Callable[..., None],
    alive: Callable[[int], bool],
    capsys: pytest.CaptureFixture[str],
) -> None:
    m = managers("--do={save_on_term+say:ready+sleep:60, ok}")
    manager = m.start()
    eventually(lambda: has_said(m.run, "ready") and m.run.statuses()[0]["pid"], "it runs")
    os.kill(manager.pid, signal.SIGKILL)
    manager.communicate()
    (pid,) = m.run.pids()
    assert dnas(["cancel", str(m.run.path), "0000"]) == 0
    assert f"noted. No manager works on {m.run.path} now" in capsys.readouterr().out
    eventually(lambda: not alive(pid), "the supervisor has ended it")
    assert m.run.results() == [{"status": "preempted"}]
    code, output = m.finish()
    assert code == 0, output
    assert m.run.states() == ["cancelled", "succeeded"]
    assert m.run.num_starts() == [1, 1]


@live
def test_failed_jobs_run_again_while_the_manager_works(
    managers: Callable[..., Managers],
    project: Path,
    eventually: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    m = managers("--do={'exit:1%ok', until:go+ok}", gpu_ids="cpu,cpu")
    manager = m.start()
    eventually(lambda: m.run.states() == ["failed", "running"], "one has failed")
    assert dnas(["retry", str(m.run.path), "0000"]) == 0
    assert "the manager has heard it" in capsys.readouterr().out
    eventually(lambda: m.run.states() == ["succeeded", "running"], "it runs again")
    assert dnas(["retry", str(m.run.path), "--failed"]) == 0
    assert "no job has failed" in capsys.readouterr().out
    (project / "go").touch()
    code, output = m.finish(manager)
    assert code == 0, output
    assert "asked for again; before: failed" in json.dumps(m.run.events())
    assert m.run.num_starts() == [2, 1]


@live
def test_a_retry_of_one_job_is_noted_for_the_next_manager(
    managers: Callable[..., Managers], capsys: pytest.CaptureFixture[str]
) -> None:
    m = managers("--do={'exit:1%ok', 'exit:5%ok', ok}")
    assert m.finish()[0] == 1
    assert dnas(["retry", str(m.run.path), "0001"]) == 0
    assert "the next one that is started on it will do this first" in capsys.readouterr().out
    assert m.finish()[0] == 1
    assert m.run.states() == ["failed", "succeeded", "succeeded"]
    assert m.run.num_starts() == [1, 2, 1]


@live
def test_a_request_about_a_job_of_another_session_is_kept_for_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "e")
    mine, other = specs("supernet", 1), specs("sampled", 2)

    def fail_sampled(folder: JobFolder, order: Order) -> int:
        folder.result.write_text("{}")
        return 1 if folder.path.parent.name == "sampled" else 0

    def outcome(jobs: list[JobSpec], function: Callable[[JobFolder, Order], int]) -> Outcome:
        slots = pool(supernet=("0", 1), sampled=("0", 1))
        manager = Manager(run, slots, executor=DebugExecutor(function))
        manager.add(jobs)
        return manager.run()

    assert outcome(mine + other, fail_sampled).counts["sampled"] == {"failed": 2}
    assert dnas(["retry", str(run.path), "--failed"]) == 0
    # This session has other jobs only; it hears the request all the same.
    assert outcome(mine, fail_sampled).exit_code == 0
    assert list(run.requests.iterdir()) == []
    states = [read_json(folder.status)["state"] for folder in run.jobs("sampled")]
    assert states == ["queued", "queued"]
    assert dnas(["cancel", str(run.path), "sampled/0001"]) == 0
    assert outcome(mine, fail_sampled).exit_code == 0

    def succeed(folder: JobFolder, order: Order) -> int:
        folder.result.write_text("{}")
        return 0

    assert outcome(mine + other, succeed).counts["sampled"] == {"succeeded": 1, "cancelled": 1}


def test_a_retry_after_too_many_failures_of_one_cause_lets_the_queue_go_on(
    managers: Callable[..., Managers],
) -> None:
    m = managers("--n={1,2,3,4} --do='exit:1%ok'")
    assert m.finish(m.start("--max_same_failures=2"))[0] == 1
    assert m.run.states() == ["failed", "failed", "queued", "queued"]
    assert dnas(["retry", str(m.run.path), "--failed"]) == 0
    code, output = m.finish(m.start("--max_same_failures=2", "--retries=crashed=1"))
    assert code == 0, output
    assert m.run.states() == ["succeeded"] * 4


class Asked(Executor):
    """A job that is cancelled as soon as it runs, and ends some looks of the manager later."""

    name = "asked"

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.running: list[Handle] = []
        self.looks = 0
        self.asked: list[bool] = []

    def submit(self, orders: Sequence[tuple[JobFolder, Order]]) -> list[Handle]:
        self.running = [Handle(folder, order.attempt) for folder, order in orders]
        requests.ask(self.run, "cancel", [("supernet", h.folder.path.name) for h in self.running])
        return list(self.running)

    def adopt(self, folder: JobFolder, attempt: int, token: Mapping[str, Any]) -> Handle | None:
        return None

    def poll(self, timeout_s: float) -> list[Handle]:
        self.looks += 1
        if self.looks < 6:
            return []
        ended, self.running = self.running, []
        for handle in ended:
            write_attempt(handle.folder, handle.attempt, 75)
        return ended

    def cancel(self, handle: Handle, *, kill: bool = False) -> None:
        self.asked.append(kill)


@live
def test_a_request_that_cannot_be_removed_is_heard_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, unlink = RunFolder(tmp_path / "e"), Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.parent == run.requests and not path.name.startswith("."):
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    executor = Asked(run)
    manager = Manager(run, pool(supernet=("0", 1)), executor=executor)
    manager.add(specs("supernet", 1))
    assert manager.run().counts == {"supernet": {"cancelled": 1}}
    # Heard again, the job would have been killed.
    assert executor.asked == [False]


# ---- misuse -----------------------------------------------------------------------------------


@pytest.fixture
def ended_run(tmp_path: Path) -> Path:
    """A run of jobs that have all ended, and one whose status is damaged."""
    run = tmp_path / "e"
    for name, state in [("0000-x", "succeeded"), ("0001-x", "failed"), ("0002-x", "cancelled")]:
        (run / "supernet" / name).mkdir(parents=True)
        (run / "supernet" / name / "status.json").write_text(json.dumps({"state": state}))
    (run / "supernet" / "0003-x").mkdir()
    (run / "supernet" / "0003-x" / "status.json").write_text("{")
    (run / "experiment.json").write_text("{}")
    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["retry"], "name the jobs to queue again, or give --failed for all that failed"),
        (["retry", "0001", "--failed"], "name the jobs to queue again, or give --failed"),
        (["retry", "0000"], "these need no retry: supernet/0000-x (succeeded)"),
        (["retry", "9"], "there is no job '9'"),
        (["retry", "000"], "'000' fits 4 jobs"),
        (["cancel", "0000", "0001"], "supernet/0000-x (succeeded), supernet/0001-x (failed)"),
        (["cancel", "0002"], "nothing to cancel: supernet/0002-x (cancelled)"),
        (["cancel", "9"], "there is no job '9'"),
    ],
)
def test_what_cannot_be_asked_is_a_message_and_code_2(
    ended_run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *jobs = words
    assert dnas([command, str(ended_run), *jobs]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert not (ended_run / "requests").exists()


@pytest.mark.parametrize("command", ["cancel", "retry", "logs"])
def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert dnas([command, str(folder), "0000"]) == 2
        assert f"error: {folder} is not a run folder" in capsys.readouterr().err


def test_cancel_needs_a_job(ended_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        dnas(["cancel", str(ended_run)])
    assert caught.value.code == 2
    assert "required: job" in capsys.readouterr().err


def test_a_job_without_a_readable_status_may_be_asked_for(
    ended_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dnas(["retry", str(ended_run), "0003"]) == 0
    assert "retry supernet/0003-x: noted" in capsys.readouterr().out
    assert [r.jobs for r in requests.pending(RunFolder(ended_run))] == [(("supernet", "0003-x"),)]
