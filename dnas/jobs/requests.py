"""What people ask a live manager for, as files: cancel jobs, or queue them again.

The asking command writes one file into the run's ``requests`` folder, under a name of its own; the
manager reads it within a second, does what it says, and removes it. So asking works from another
host, and while nobody listens it waits for the next manager.
"""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dnas.errors import JobError
from dnas.files import write_json
from dnas.runs import RunFolder

CANCEL = "cancel"
RETRY = "retry"


@dataclass(frozen=True)
class Request:
    """One request."""

    action: str
    """``cancel`` or ``retry``."""
    jobs: tuple[tuple[str, str], ...]
    """(kind, job id) of each job it is about."""
    file: Path | None = None
    """Where it was read from."""


def ask(run: RunFolder, action: str, jobs: Sequence[tuple[str, str]]) -> Path:
    """Leave a request for the manager; gives its file, which goes when it has been heard."""
    # In the order of asking; two of the same moment differ by the rest of the name.
    path = run.requests / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    write_json(path, {"action": action, "jobs": [list(job) for job in jobs]})
    return path


def pending(run: RunFolder) -> list[Request]:
    """The requests that wait, oldest first. One that cannot be read is set aside as damaged."""
    try:
        files = sorted(run.requests.glob("[0-9]*.json"))
    except OSError:
        return []
    found = []
    for file in files:
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
            jobs = tuple((str(kind), str(job)) for kind, job in value["jobs"])
            if value["action"] not in (CANCEL, RETRY):
                raise JobError(f"{file}: action {value['action']!r} is not known")
            found.append(Request(value["action"], jobs, file))
        except (JobError, KeyError, TypeError, ValueError):
            with contextlib.suppress(OSError):
                file.rename(file.with_suffix(".damaged"))
        except OSError:
            continue  # perhaps it can be read later
    return found


def select(names: Sequence[str], known: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The jobs that people mean by ``names``.

    Args:
        names: Each a job's id or the start of one, with or without its kind: ``0003``,
            ``sampled/0003``.
        known: (kind, id) of every job of the run.

    Raises:
        JobError: A name fits none or several.
    """
    jobs = sorted(known)
    found = []
    for name in names:
        wanted = name.rstrip("/")
        exact = [job for job in jobs if wanted in (job[1], "/".join(job))]
        fitting = exact or [
            job for job in jobs if job[1].startswith(wanted) or "/".join(job).startswith(wanted)
        ]
        if not fitting:
            raise JobError(f"there is no job {name!r}; dnas status shows the jobs of a run")
        if len(fitting) > 1:
            shown = ", ".join("/".join(job) for job in fitting[:5])
            raise JobError(f"{name!r} fits {len(fitting)} jobs ({shown}, ...); give more of the id")
        found.append(fitting[0])
    return found
