"""Jobs as folders: what is on disk is what a restarted manager knows.

The store survives what disks do. A job's file that is damaged is made anew from what is left: the
spec from the config that names the same job, the state from what the attempts say of themselves.
While the disk refuses to be written, the store keeps what is not yet on it and says so; the manager
starts nothing then, and goes on when it can.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dnas.files import append_json_line, write_json
from dnas.jobs.job import KINDS, Job, JobSpec, State, spec_from_description
from dnas.runs import JobFolder, RunFolder

logger = logging.getLogger(__name__)

_JOB_FILE = JobFolder(Path()).job.name
_STATUS_FILE = JobFolder(Path()).status.name
_INDEX = re.compile(r"(\d{4,})-")
_ATTEMPT = re.compile(r"attempt\.(\d+)\.json")
_TEMPORARY = re.compile(r"\..*\.[0-9a-f]{8}\.tmp(\.[A-Za-z]+)?")


class JobStore:
    """The jobs of one run folder. To be made under its lock.

    Args:
        run: The run folder; its jobs are read, and half-made ones of a killed manager removed.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._jobs: dict[str, Job] = {}
        self._damaged: dict[tuple[str, str], JobFolder] = {}  # (kind, name without index)
        self._next_index = dict.fromkeys(KINDS, 0)
        self._unsaved: dict[Path, Job] = {}
        self._unwritten: list[dict[str, Any]] = []
        self.behind = ""
        """Why the disk lags behind what this store knows; empty if it does not."""
        # Tens of thousands of objects that stay: garbage is looked for among them in vain.
        gc.disable()
        try:
            for kind in KINDS:
                self._read_kind(kind)
        finally:
            gc.enable()
        remove_temporary_files(run.path)

    def __iter__(self) -> Iterator[Job]:
        return iter(self._jobs.values())

    def find(self, spec: JobSpec) -> Job | None:
        """The job of this identity, if the run has it.

        Raises:
            OSError: Its damaged file cannot be written anew; it may be asked for again.
        """
        job = self._jobs.get(spec.identity)
        if job is None:
            key = (spec.kind, _without_index(spec.name(0)))
            folder = self._damaged.get(key)
            if folder is not None:
                logger.warning("%s is damaged: made anew from the config", folder.job)
                job = Job(spec=spec, id=folder.path.name, folder=folder)
                _recall(job)
                write_json(folder.job, job.description())
                self._jobs[spec.identity] = job
                del self._damaged[key]
        return job

    def create(self, spec: JobSpec) -> Job:
        """Make a folder for a job the run does not have yet.

        Raises:
            OSError: The disk refuses it; nothing is left.
        """
        index = self._next_index[spec.kind]
        name = spec.name(index)
        job = Job(spec=spec, id=name, folder=self.run.job(spec.kind, name))
        # Made under a hidden name and renamed: a manager killed here leaves no half of a job.
        hidden = JobFolder(job.folder.path.with_name(f".{name}"))
        try:
            hidden.path.mkdir(parents=True)
            # Not forced to the disk: after a power cut the job is made again from its config.
            write_json(hidden.job, job.description(), durable=False)
            write_json(hidden.status, job.status(), durable=False)
            hidden.path.rename(job.folder.path)
        except OSError:
            shutil.rmtree(hidden.path, ignore_errors=True)
            raise
        self._next_index[spec.kind] += 1
        self._jobs[spec.identity] = job
        return job

    def renew(self, job: Job, spec: JobSpec) -> None:
        """Give a job that is on disk its spec of today: a moved run has other paths."""
        if spec != job.spec:
            job.spec = spec
            write_json(job.folder.job, job.description())

    def save(self, job: Job) -> None:
        """Write where a job stands, now or as soon as the disk allows."""
        self._unsaved[job.folder.path] = job
        self.catch_up()

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
            line |= {"slot": list(job.slot), "attempt": job.attempts}
        self._unwritten.append(line)
        self.catch_up()

    def catch_up(self) -> bool:
        """Write what is not on disk yet; gives whether all is."""
        try:
            for path, job in list(self._unsaved.items()):
                # Not forced to the disk: after a power cut its attempts tell where it stood.
                write_json(job.folder.status, job.status(), durable=False)
                del self._unsaved[path]
            while self._unwritten:
                append_json_line(self.run.events, self._unwritten[0])
                self._unwritten.pop(0)
        except OSError as error:
            if not self.behind:
                logger.error("%s cannot be written: %s", self.run.path, error)
            self.behind = f"the run folder cannot be written: {error.strerror}"
            return False
        if self.behind:
            logger.warning("%s can be written again", self.run.path)
        self.behind = ""
        return True

    # ---- reading ------------------------------------------------------------------------------

    def _read_kind(self, kind: str) -> None:
        parent = self.run.path / kind
        if not parent.is_dir():
            return
        # Two files are opened for each job and nothing else is asked of the disk: a queue of ten
        # thousand jobs is read in about a second.
        with os.scandir(parent) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries)
        for name, is_folder in found:
            path = parent / name
            if name.startswith("."):
                if _INDEX.match(name[1:]):
                    shutil.rmtree(path)
                continue
            if (index := _INDEX.match(name)) is None or not is_folder:
                continue
            self._next_index[kind] = max(self._next_index[kind], int(index[1]) + 1)
            folder = JobFolder(path)
            try:
                spec = spec_from_description(_read(f"{path}/{_JOB_FILE}"))
            except (OSError, KeyError, TypeError, ValueError, AttributeError):
                self._damaged[kind, _without_index(name)] = folder
                continue
            job = Job(spec=spec, id=name, folder=folder)
            _recall(job)
            self._jobs[spec.identity] = job


def set_aside_result(folder: JobFolder, attempt: int) -> None:
    """Rename the result of an earlier attempt, so that it is not taken for that of the next."""
    if folder.result.exists():
        folder.result.replace(folder.path / f"result.attempt{attempt}.json")


def remove_temporary_files(folder: Path) -> None:
    """Remove what writers that were killed have left; nobody may be writing in the folder."""
    for name in _names(folder):
        if _TEMPORARY.fullmatch(name):
            (folder / name).unlink(missing_ok=True)


def log_size(path: Path) -> int:
    """Bytes of a log, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def _recall(job: Job) -> None:
    """Read where a job stands; from its attempts if its status is missing or damaged."""
    try:
        job.recall(_read(f"{job.folder.path}/{_STATUS_FILE}"))
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        names = _names(job.folder.path)
        numbers = [int(found[1]) for name in names if (found := _ATTEMPT.fullmatch(name))]
        job.attempts = max(numbers, default=0)
        # Whoever recovers it reads from the attempt whether it still runs, or how it ended.
        job.state = State.RUNNING if numbers else State.QUEUED
        job.reason = f"its status.json was unusable ({type(error).__name__})"
        logger.warning("%s is unusable: made anew", job.folder.status)


def _read(path: str) -> Any:
    # Neither pathlib nor a file object: they take longer than the reading.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return json.loads(os.read(handle, os.fstat(handle).st_size))
    finally:
        os.close(handle)


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _without_index(name: str) -> str:
    return name.split("-", 1)[1]
