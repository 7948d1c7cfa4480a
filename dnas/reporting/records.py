"""What the files of a run folder say about its jobs, whatever state those files are in.

A report is asked for while jobs run, after a crash, or of a run in which foreign programs were
jobs. So nothing here raises for one bad job: what cannot be read becomes a ``problem`` of that
job, which the report names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dnas.errors import DnasError, JobError
from dnas.files import read_json
from dnas.runs import DRAWN, FINAL, FINALS, SAMPLED, SCORED, SUPERNET, JobFolder, RunFolder

SUCCEEDED = "succeeded"
DIVERGED = "diverged"
CANCELLED = "cancelled"
#: States in which a job is not done and may still produce a result.
UNFINISHED = frozenset({"queued", "running"})
#: The order in which counts of states are shown.
STATE_ORDER = (
    "running",
    "queued",
    SUCCEEDED,
    "failed",
    DIVERGED,
    "out_of_memory",
    "timed_out",
    "lost",
    "preempted",
    CANCELLED,
)


@dataclass(frozen=True)
class JobRecord:
    """One job as its folder tells it.

    Attributes:
        kind: ``"supernet"``, ``"sampled"`` or one of ``dnas.runs.FINALS``; in a study also
            ``"drawn"`` and ``"scored"``.
        folder: Its file names.
        job: Content of ``job.json``; empty when absent or unreadable.
        status: Content of the manager's ``status.json``; empty when absent or unreadable.
        result: Content of ``result.json``, or None when absent or unreadable.
        state: ``queued``, ``running``, ``succeeded``, ``failed``, ``diverged``, ``out_of_memory``,
            ``timed_out``, ``lost``, ``preempted`` or ``cancelled``.
        reason: Why it failed or waits, on one line; empty when there is nothing to say.
        problems: Files that are there and cannot be read, each with the reason.
    """

    kind: str
    folder: JobFolder
    job: Mapping[str, Any]
    status: Mapping[str, Any]
    result: Mapping[str, Any] | None
    state: str
    reason: str
    problems: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The job's id, which is the name of its folder."""
        return self.folder.path.name

    @property
    def name(self) -> str:
        """``kind/id``, the path of the job inside the run folder."""
        return f"{self.kind}/{self.id}"

    @property
    def failed(self) -> bool:
        """Ended without a result that counts, and nobody wanted that."""
        return self.state not in (SUCCEEDED, CANCELLED) and self.state not in UNFINISHED

    @property
    def place(self) -> str:
        """Its devices as people read them, e.g. ``gpu 0`` or ``gpu 0 + gpu 1``."""
        slot = self.status.get("slot")
        return " + ".join(map(str, slot)) if isinstance(slot, list) else ""


@dataclass(frozen=True)
class RunRecords:
    """One run as its folder tells it, read once."""

    folder: RunFolder
    experiment: Mapping[str, Any]
    status: Mapping[str, Any]
    supernet: list[JobRecord] = field(default_factory=list)
    sampled: list[JobRecord] = field(default_factory=list)
    finals: Mapping[str, list[JobRecord]] = field(default_factory=dict)
    """Kind -> jobs of each final stage that the run has or is to have, in order. The last makes the
    final models."""
    drawn: list[JobRecord] = field(default_factory=list)
    scored: list[JobRecord] = field(default_factory=list)
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Kind of each final stage -> which architectures were chosen for it; empty when that is absent
    or unreadable."""

    @property
    def experiment_id(self) -> str:
        """The experiment's name; that of the folder when no file says it."""
        for source in (self.experiment, self.status):
            if source.get("experiment_id"):
                return str(source["experiment_id"])
        return self.folder.path.resolve().name

    @property
    def jobs(self) -> list[JobRecord]:
        """All jobs, in the order of their stages."""
        return [*self.drawn, *self.supernet, *self.trainings, *self.scored]

    @property
    def trainings(self) -> list[JobRecord]:
        """The jobs that train an architecture from scratch, in the order of their stages."""
        return [*self.sampled, *(job for jobs in self.finals.values() for job in jobs)]

    @property
    def last_stage(self) -> str:
        """The final stage whose models are the final ones."""
        return [FINAL, *self.finals][-1]

    @property
    def stages(self) -> list[tuple[str, list[JobRecord]]]:
        """Kind and jobs of each stage that the run is to have."""
        stages = [(SUPERNET, self.supernet), (SAMPLED, self.sampled)]
        if self.folder.study.exists():
            return [(DRAWN, self.drawn), *stages, (SCORED, self.scored)]
        return [*stages, *self.finals.items()]


def read_run(run: RunFolder) -> RunRecords:
    """Read all that a run folder says about its jobs.

    Raises:
        JobError: The folder does not exist or is not that of a run.
    """
    if not run.path.is_dir():
        raise JobError(f"{run.path}: there is no such run folder")
    signs = (run.experiment, run.status, *(run.path / kind for kind in (SUPERNET, SAMPLED, FINAL)))
    if not any(sign.exists() for sign in signs):
        raise JobError(
            f"{run.path}: not a run folder (none of {', '.join(s.name for s in signs)} is in it); "
            "give the folder of one experiment, such as runs/<experiment>"
        )
    experiment = _read_mapping(run.experiment, []) or {}
    configs = experiment.get("configs")
    wanted = configs if isinstance(configs, Mapping) else {}
    choices = {kind: _read_mapping(run.choice(kind), []) or {} for kind in FINALS}
    finals = {kind: [read_job(kind, folder) for folder in run.jobs(kind)] for kind in FINALS}
    finals = {k: jobs for k, jobs in finals.items() if jobs or choices[k] or k in wanted}
    return RunRecords(
        folder=run,
        experiment=experiment,
        status=_read_mapping(run.status, []) or {},
        supernet=[read_job(SUPERNET, folder) for folder in run.jobs(SUPERNET)],
        sampled=[read_job(SAMPLED, folder) for folder in run.jobs(SAMPLED)],
        finals=finals,
        drawn=[read_job(DRAWN, folder) for folder in run.jobs(DRAWN)],
        scored=[read_job(SCORED, folder) for folder in run.jobs(SCORED)],
        choices=choices,
    )


def read_job(kind: str, folder: JobFolder) -> JobRecord:
    """Read one job's folder; what cannot be read is named in ``problems``."""
    problems: list[str] = []
    job = _read_mapping(folder.job, problems) or {}
    status = _read_mapping(folder.status, problems) or {}
    seen = len(problems)
    result = _read_mapping(folder.result, problems)
    result_problem = problems[-1] if len(problems) > seen else None
    state, reason = _state_and_reason(status, result, result_problem)
    return JobRecord(kind, folder, job, status, result, state, reason, tuple(problems))


def count_states(records: list[JobRecord]) -> dict[str, int]:
    """Jobs by state, in the order in which they are shown; states of no job are left out."""
    counts: dict[str, int] = {}
    for record in records:
        counts[record.state] = counts.get(record.state, 0) + 1
    known = {state: counts.pop(state) for state in STATE_ORDER if state in counts}
    return known | counts


def _state_and_reason(
    status: Mapping[str, Any], result: Mapping[str, Any] | None, result_problem: str | None
) -> tuple[str, str]:
    """Bring the manager's word and the job's own together.

    The manager decides whether a job is over (it knows the exit code, and that a failed attempt
    is tried again); the job's result says more closely how it failed.
    """
    manager = str(status.get("state") or "")
    reason = _first_line(status.get("reason"))
    if result is None:
        if result_problem and manager not in UNFINISHED:
            failure = manager if manager and manager != SUCCEEDED else "failed"
            return failure, f"{reason}; {result_problem}" if reason else result_problem
        if manager == SUCCEEDED:
            return "failed", "the job ended well but left no result.json"
        return manager or "queued", reason
    own = result.get("status")
    if own is None:  # foreign programs may leave it out: their exit code is their status
        own = SUCCEEDED if status.get("exit_code") in (None, 0) else "failed"
    own = str(own)
    reason = _error_text(result.get("error")) or reason
    if own == SUCCEEDED:
        if manager and manager not in UNFINISHED and manager != SUCCEEDED:
            return manager, reason or f"result.json says succeeded, the manager says {manager}"
        return SUCCEEDED, ""
    if manager in UNFINISHED:  # this result is that of an earlier attempt
        return manager, reason
    more_general = manager in ("", "failed", SUCCEEDED)
    return (own if more_general else manager), reason


def _error_text(error: object) -> str:
    """``Type: message`` of a result's ``error``, on one line."""
    if not isinstance(error, Mapping):
        return _first_line(error)
    parts = [_first_line(error.get(key)) for key in ("type", "message")]
    return ": ".join(part for part in parts if part)


def _first_line(text: object) -> str:
    """The first line that says something, or the empty string."""
    lines = str(text).split("\n") if text is not None else []
    return next((line.strip() for line in lines if line.strip()), "")


def _read_mapping(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """A JSON object, or None; a file that is there and is not one is added to ``problems``."""
    if not path.exists():
        return None
    try:
        value = read_json(path)
    except (DnasError, OSError) as error:
        # A path that is long hides the reason behind it on a narrow screen.
        problems.append(str(error).replace(str(path), path.name))
        return None
    if not isinstance(value, dict):
        problems.append(f"{path.name}: a JSON object is expected, got {type(value).__name__}")
        return None
    return value
