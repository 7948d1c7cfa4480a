"""Jobs as folders: what is on disk is what a restarted manager knows."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnas.errors import DnasError, JobError
from dnas.files import append_json_line, read_json, write_json
from dnas.jobs.job import KINDS, Job, JobSpec, State, spec_from_description
from dnas.runs import JobFolder, RunFolder


class JobStore:
    """The jobs of one run folder. To be made under its lock.

    Args:
        run: The run folder; its jobs are read, and half-made ones of a killed manager removed.

    Raises:
        JobError: A job's file is damaged.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._jobs: dict[str, Job] = {}
        self._next_index = dict.fromkeys(KINDS, 0)
        for kind in KINDS:
            for half_made in (run.path / kind).glob(".[0-9]*"):
                shutil.rmtree(half_made)
            for folder in run.jobs(kind):
                index = folder.path.name.split("-")[0]
                if index.isdecimal():
                    self._next_index[kind] = max(self._next_index[kind], int(index) + 1)
                if folder.job.exists():
                    job = _load(folder)
                    self._jobs[job.spec.identity] = job

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def find(self, spec: JobSpec) -> Job | None:
        """The job of this identity, if the run has it."""
        return self._jobs.get(spec.identity)

    def create(self, spec: JobSpec) -> Job:
        """Make a folder for a job the run does not have yet."""
        index = self._next_index[spec.kind]
        self._next_index[spec.kind] += 1
        name = spec.name(index)
        job = Job(spec=spec, id=name, folder=self.run.job(spec.kind, name))
        # Made under a hidden name and renamed: a manager killed here leaves no half of a job.
        hidden = JobFolder(job.folder.path.with_name(f".{name}"))
        hidden.path.mkdir(parents=True)
        write_json(hidden.job, job.description())
        write_json(hidden.status, job.status())
        hidden.path.rename(job.folder.path)
        self._jobs[spec.identity] = job
        return job

    def renew(self, job: Job, spec: JobSpec) -> None:
        """Give a job that is on disk its spec of today: a moved run has other paths."""
        if spec != job.spec:
            job.spec = spec
            write_json(job.folder.job, job.description())

    def save(self, job: Job) -> None:
        """Write where a job stands."""
        write_json(job.folder.status, job.status())

    def event(self, job: Job | None, state: str, reason: str, *, pid: int, host: str) -> None:
        """Append a line to ``events.jsonl``; ``job`` is None for the run itself."""
        line: dict[str, Any] = {
            "time": time.time(),
            "kind": None if job is None else job.kind,
            "job": None if job is None else job.id,
            "state": state,
            "reason": reason,
            "pid": pid,
            "host": host,
        }
        if job is not None:
            line |= {"slot": job.device, "attempt": job.attempts}
        append_json_line(self.run.events, line)


def set_aside_result(folder: JobFolder, attempt: int) -> None:
    """Rename the result of an earlier attempt, so that it is not taken for that of the next."""
    if folder.result.exists():
        folder.result.replace(folder.path / f"result.attempt{attempt}.json")


def _load(folder: JobFolder) -> Job:
    try:
        spec = spec_from_description(read_json(folder.job))
        # People may delete a status to have the job run again.
        status = read_json(folder.status) if folder.status.exists() else {}
        job = Job(spec=spec, id=folder.path.name, folder=folder)
        job.state = State(status.get("state", State.QUEUED))
        job.reason = str(status.get("reason") or "")
        job.attempts = int(status.get("attempts") or 0)
        job.device = status.get("slot")
        job.pid = status.get("pid")
        job.process_mark = status.get("process_mark")
        job.host = status.get("host")
        job.started, job.ended = status.get("started"), status.get("ended")
        job.exit_code = status.get("exit_code")
        job.log_offset = int(status.get("log_offset") or 0)
    except (DnasError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise JobError(
            f"{folder.path}: its job.json or status.json is damaged ({error}); delete this job's "
            "folder to run the job anew"
        ) from None
    return job


def log_size(path: Path) -> int:
    """Bytes of a log, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0
