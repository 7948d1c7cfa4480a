"""What became of an attempt that an earlier manager left running."""

from __future__ import annotations

import logging

from dnas.jobs import attempt as attempts
from dnas.jobs.executors.base import Executor, Handle
from dnas.jobs.executors.watch import Watcher
from dnas.jobs.job import Job

logger = logging.getLogger(__name__)


def find_again(job: Job, executor: Executor, watcher: Watcher, host: str) -> Handle | None:
    """A handle on the job's last attempt, if it still runs or may still begin; None if it is over.

    When this gives None, the attempt will never run from then on: it has ended, was lost, or has
    been revoked.

    Args:
        job: A job whose status says that it runs.
        executor: The one in use now.
        watcher: For attempts that it cannot reach.
        host: This host's name.

    Raises:
        OSError: The attempt could not be revoked, so that nothing is certain.
    """
    folder, number = job.folder, job.attempts
    file = folder.attempt(number)
    record = attempts.read_attempt(file)
    if record is None:
        # Submitted, but not begun: it waits in its engine, or that manager was killed too early.
        handle = executor.adopt(folder, number, job.token)
        if handle is not None or attempts.revoke(file):
            return handle
        record = attempts.read_attempt(file)  # it has begun in between
    if not record and job.token and executor.name == "local" and job.host == host:
        return executor.adopt(folder, number, job.token)
    if not record:
        return watcher.adopt(folder, number, "a damaged attempt's supervisor")
    if record.get("state") in (attempts.ENDED, attempts.REVOKED):
        return None
    engine = str(record.get("engine", ""))
    if engine.split(" ")[0] != executor.name:
        return watcher.adopt(folder, number, f"engine {engine}")
    if executor.name == "local" and record.get("host") != host:
        return watcher.adopt(folder, number, f"host {record.get('host')}")
    token = job.token or {"pid": record.get("pid"), "mark": record.get("mark")}
    handle = executor.adopt(folder, number, token)
    if handle is None:
        executor.clear(folder, number, record)
    return handle
