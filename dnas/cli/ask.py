"""``dnas cancel`` and ``dnas retry``: ask the manager of a run, live or the next one."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from dnas.cli.run import guarded
from dnas.errors import DnasError, JobError
from dnas.files import read_json
from dnas.jobs import requests
from dnas.jobs.attempt import RUNNING, read_attempt
from dnas.jobs.executors.base import ask_by_file
from dnas.jobs.job import KINDS, State
from dnas.jobs.lock import is_held
from dnas.runs import RunFolder

#: How long a live manager may take to hear a request before it is said that it has not yet.
_HEARD_S = 5.0
#: What a job gets to save a checkpoint when nobody is there who knows the run's own setting.
_GRACE_S = 120.0


def cancel(argv: Sequence[str] | None = None) -> int:
    """``dnas cancel RUN JOB...``; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="dnas cancel",
        description="End jobs, or take them out of the queue. A running job may save a checkpoint "
        "first; asked a second time, it is killed.",
        allow_abbrev=False,
    )
    _add_run_and_jobs(parser, "+")
    options = parser.parse_args(argv)
    return guarded(lambda: _cancel(RunFolder(options.run_folder), options.job))


def retry(argv: Sequence[str] | None = None) -> int:
    """``dnas retry RUN [JOB...] [--failed]``; gives the exit code."""
    parser = argparse.ArgumentParser(
        prog="dnas retry",
        description="Queue jobs again that ended without a result. They go on from their last "
        "checkpoint if they have one.",
        allow_abbrev=False,
    )
    _add_run_and_jobs(parser, "*")
    parser.add_argument(
        "--failed",
        action="store_true",
        help="all that failed, ran out of memory or time, or got lost",
    )
    options = parser.parse_args(argv)
    return guarded(lambda: _retry(RunFolder(options.run_folder), options.job, options.failed))


def job_states(run: RunFolder) -> dict[tuple[str, str], str]:
    """(kind, id) -> state of every job in a run folder.

    Raises:
        JobError: It is not a run folder.
    """
    if not run.experiment.exists() and not run.lock.exists():
        raise JobError(f"{run.path} is not a run folder; give one such as runs/<experiment>")
    found = {}
    for kind in KINDS:
        for folder in run.jobs(kind):
            try:
                state = str(read_json(folder.status)["state"])
            except (DnasError, KeyError, TypeError):
                state = "unknown"
            found[kind, folder.path.name] = state
    return found


def _cancel(run: RunFolder, names: Sequence[str]) -> int:
    states = job_states(run)
    chosen = requests.select(names, states)
    over = [job for job in chosen if State.RUNNING != states[job] != State.QUEUED]
    if over:
        shown = ", ".join(f"{'/'.join(job)} ({states[job]})" for job in over)
        raise JobError(f"these have ended, so that there is nothing to cancel: {shown}")
    if not is_held(run):
        # Nobody is there to end them, but their supervisors are.
        for kind, name in chosen:
            _ask_supervisor(run, kind, name)
    return _ask(run, requests.CANCEL, chosen)


def _retry(run: RunFolder, names: Sequence[str], failed: bool) -> int:
    states = job_states(run)
    if bool(names) == failed:
        raise JobError("name the jobs to queue again, or give --failed for all that failed")
    if failed:
        ends = {str(state) for state in State if state.failed}
        chosen = [job for job, state in states.items() if state in ends]
        if not chosen:
            sys.stdout.write(f"{run.path}: no job has failed\n")
            return 0
    else:
        chosen = requests.select(names, states)
        fine = [job for job in chosen if states[job] in ("queued", "running", "succeeded")]
        if fine:
            shown = ", ".join(f"{'/'.join(job)} ({states[job]})" for job in fine)
            raise JobError(f"these need no retry: {shown}")
    return _ask(run, requests.RETRY, chosen)


def _ask(run: RunFolder, action: str, jobs: list[tuple[str, str]]) -> int:
    file = requests.ask(run, action, jobs)
    shown = f"{len(jobs)} jobs" if len(jobs) > 3 else ", ".join("/".join(job) for job in jobs)
    deadline = time.monotonic() + _HEARD_S
    while is_held(run) and file.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    if not file.exists():
        sys.stdout.write(f"{action} {shown}: the manager has heard it\n")
    elif is_held(run):
        sys.stdout.write(f"{action} {shown}: asked; the manager has not answered yet\n")
    else:
        sys.stdout.write(
            f"{action} {shown}: noted. No manager works on {run.path} now; the next one that is "
            "started on it will do this first\n"
        )
    return 0


def _ask_supervisor(run: RunFolder, kind: str, name: str) -> None:
    folder = run.job(kind, name)
    numbers = [int(path.name.split(".")[1]) for path in folder.path.glob("attempt.*.json")]
    last = max(numbers, default=0)
    if (read_attempt(folder.attempt(last)) or {}).get("state") == RUNNING:
        ask_by_file(folder, last, kill=folder.stop.exists(), grace_s=_GRACE_S)


def _add_run_and_jobs(parser: argparse.ArgumentParser, number: str) -> None:
    parser.add_argument("run_folder", type=Path, help="such as runs/<experiment>")
    parser.add_argument(
        "job",
        nargs=number,
        help="a job's id or the start of it, as dnas status shows it: 0003, sampled/0003",
    )
