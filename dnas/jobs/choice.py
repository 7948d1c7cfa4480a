"""Model selection: which architectures of a stage are trained again by the next one, and by what.

NASRec (arXiv:2207.07187, 5.1, "Model Selection") retrains what the search found, takes the one with
the best *validation* performance, and lets only that one see the test rows. An architecture stands
by its best job: its learning rates and seeds were alternatives of one list, and the list's best is
what the stage says of it. Equal values are told apart by the job's id, so that a choice is
the same whenever it is made of the same results. What was trained for comparison alone (drawn at
random, given by people, an extreme of the space) takes no part: the final model is to be what the
search found. Where there is nothing else (a random search is an experiment too), it does.

The choice is a file (:meth:`dnas.runs.RunFolder.choice`), written before any job follows from it.
Once made it stays: test rows that have been looked at by one final model must not decide about the
next.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.errors import DnasError, JobError
from dnas.files import read_json, write_json
from dnas.jobs.experiment import other_origins
from dnas.jobs.job import Job, State
from dnas.jobs.verdict import read_result
from dnas.quality import Quality, judged_by
from dnas.runs import RunFolder

_FORMAT = "dnas.choice/1"
#: Origins of architectures that are trained for comparison.
_CONTROLS = ("random", "given", "smallest", "largest")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An architecture by the best job that trained it."""

    job: str
    """``kind/id`` of that job."""
    value: float
    """Its validation metric at its best epoch."""
    architecture: str
    """The architecture file, from the run folder."""
    canonical_id: str
    origin: str | None = None
    """How the architecture came about, such as ``random``; None if its result does not say."""
    jobs: int = 1
    """How many of its jobs have a value."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return dict(vars(self))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The outcome of model selection."""

    metric: str
    """The validation metric that decided."""
    maximize: bool
    """Whether larger is better."""
    number: int
    """How many architectures were wanted."""
    chosen: tuple[Candidate, ...]
    """The best, best first; fewer than ``number`` if there were no more."""
    runner_up: Candidate | None
    """The best that was not chosen; None if all were."""
    candidates: int
    """Architectures that could be chosen."""
    controls: int = 0
    """Architectures that have a value and were trained for comparison alone."""
    without_value: tuple[str, ...] = ()
    """``kind/id`` of each job that could not take part: it failed, was cancelled, or its result has
    no such metric."""

    def to_json(self) -> dict[str, Any]:
        """Content of ``choice.json``."""
        return {
            "format": _FORMAT,
            "metric": self.metric,
            "maximize": self.maximize,
            "number": self.number,
            "chosen": [candidate.to_json() for candidate in self.chosen],
            "runner_up": None if self.runner_up is None else self.runner_up.to_json(),
            "candidates": self.candidates,
            "controls": self.controls,
            "without_value": list(self.without_value),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Choice:
        """Read a choice back.

        Raises:
            KeyError, TypeError, ValueError: It is not the content of a choice file.
        """
        if value["format"] != _FORMAT:
            raise ValueError(f"format is {value['format']!r}, expected {_FORMAT!r}")
        runner_up = value["runner_up"]
        return cls(
            metric=str(value["metric"]),
            maximize=bool(value["maximize"]),
            number=int(value["number"]),
            chosen=tuple(Candidate(**candidate) for candidate in value["chosen"]),
            runner_up=None if runner_up is None else Candidate(**runner_up),
            candidates=int(value["candidates"]),
            controls=int(value["controls"]),
            without_value=tuple(map(str, value["without_value"])),
        )

    def __str__(self) -> str:
        best = ", ".join(f"{c.job} ({self.metric} {c.value:.6g})" for c in self.chosen)
        how = f"{self.metric} ({Quality(self.metric, self.maximize).direction})"
        text = f"by validation {how} among {self.candidates} architectures: {best}"
        if self.runner_up is not None:
            text += f"; runner-up {self.runner_up.job} ({self.runner_up.value:.6g})"
        if self.controls:
            text += f"; {self.controls} architectures were trained for comparison alone"
        if self.without_value:
            number = len(self.without_value)
            who = "1 job has" if number == 1 else f"{number} jobs have"
            text += f"; {who} no value and took no part"
        return text


def choose(run: RunFolder, jobs: Iterable[Job], number: int) -> Choice:
    """Choose among jobs of one stage that are all over.

    Args:
        run: Their run folder.
        jobs: The jobs, each of which trained an architecture.
        number: How many architectures to choose.

    Raises:
        JobError: None has a value, or they were judged by different metrics.
    """
    ordered = sorted(jobs, key=lambda job: job.id)
    measures: dict[Quality, str] = {}
    values: list[tuple[float, Candidate]] = []
    without: list[str] = []
    for job in ordered:
        if job.spec.architecture is None:
            continue  # trained by itself, not one of this run's architectures
        result = _result(job)
        measure = None if result is None else judged_by(result, result.get("validation"))
        value = None if measure is None else _value(result, measure.metric)
        if measure is None or value is None:
            without.append(f"{job.kind}/{job.id}")
            continue
        measures.setdefault(measure, f"{job.kind}/{job.id}")
        candidate = Candidate(
            job=f"{job.kind}/{job.id}",
            value=value,
            architecture=path_in_run(run, Path(job.spec.architecture)),
            canonical_id=str(job.spec.canonical_id),
            origin=_origin(result),
        )
        values.append((measure.signed(value), candidate))
    if not values:
        stage = ordered[0].kind if ordered else "earlier"
        raise JobError(
            f"there is no architecture to choose: none of the {len(ordered)} {stage} jobs "
            "succeeded with a validation metric in its result. Mend the cause, then "
            f"dnas retry {run.path} --failed, and start the same command again"
        )
    if len(measures) > 1:
        shown = "; ".join(
            f"{job} by {measure.metric}, {measure.direction}" for measure, job in measures.items()
        )
        raise JobError(
            f"there is no best architecture: the jobs are judged by different metrics "
            f"({shown}); search and train one task in an experiment that has a final stage"
        )
    (quality,) = measures
    every = _by_architecture(candidate for _, candidate in sorted(values, key=lambda v: v[0]))
    also = other_origins(run)
    ranked = [c for c in every if not _is_control(c, also.get(c.canonical_id, set()))] or every
    return Choice(
        metric=quality.metric,
        maximize=quality.maximize,
        number=number,
        chosen=tuple(ranked[:number]),
        runner_up=ranked[number] if len(ranked) > number else None,
        candidates=len(ranked),
        controls=len(every) - len(ranked),
        without_value=tuple(without),
    )


def read_choice(run: RunFolder, kind: str) -> Choice | None:
    """The choice that was made for the stage ``kind``, None if there is none yet.

    Raises:
        JobError: The file is damaged.
    """
    file = run.choice(kind)
    try:
        return Choice.from_json(read_json(file)) if file.exists() else None
    except (DnasError, KeyError, TypeError, ValueError) as error:
        raise JobError(
            f"{file} is damaged ({error}), so that it is not known which architectures were "
            "chosen; restore it, or remove it to have them chosen anew"
        ) from None


def write_choice(run: RunFolder, kind: str, choice: Choice) -> None:
    """Write the choice for the stage ``kind``; after a power cut it is whole or absent."""
    write_json(run.choice(kind), choice.to_json())


def path_in_run(run: RunFolder, file: Path) -> str:
    """The file's path from the run folder, which stays true when the folder is moved."""
    return Path(os.path.relpath(file, run.path)).as_posix()


def _is_control(candidate: Candidate, also: Collection[str]) -> bool:
    """Whether nothing but controls came to this architecture.

    One that a search found and another search drew for comparison is trained once, as whichever
    came first.

    Args:
        candidate: As it was trained.
        also: How it came about elsewhere in the run.
    """
    return candidate.origin in _CONTROLS and all(origin in ("", *_CONTROLS) for origin in also)


def _by_architecture(ranked: Iterable[Candidate]) -> list[Candidate]:
    """The best candidate of each architecture, in the order given, with its number of jobs."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in ranked:
        groups.setdefault(candidate.canonical_id, []).append(candidate)
    return [Candidate(**{**group[0].to_json(), "jobs": len(group)}) for group in groups.values()]


def _result(job: Job) -> dict[str, Any] | None:
    """The result of a job, None if it did not succeed.

    Raises:
        JobError: It succeeded, but its result cannot be read: another choice must not come of that.
    """
    if job.state is not State.SUCCEEDED:
        return None
    result = read_result(job.folder.result)
    if not isinstance(result, dict):
        raise JobError(
            f"{job.folder.result} is {'gone' if result is None else result}, so that the best "
            "architecture is not known; start the same command again: the job runs once more if "
            "its result stays unusable"
        )
    return result


def _value(result: object, metric: str) -> float | None:
    validation = result.get("validation") if isinstance(result, Mapping) else None
    value = validation.get(metric) if isinstance(validation, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _origin(result: object) -> str | None:
    found: object = result
    for key in ("architecture", "provenance", "kind"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, str) else None
