"""Final stages: the best architectures of the stage before, trained by jobs of a config of its own.

One such stage makes the final models of what was sampled. With several, each trains fewer
architectures for longer than the one before, and the last makes the final models: successive
halving (K. Jamieson, A. Talwalkar, 2016, arXiv:1502.07943), with any numbers and any trainings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dnas.errors import JobError
from dnas.jobs.choice import Choice, choose, read_choice, write_choice
from dnas.jobs.config import TuningConfig, expand
from dnas.jobs.job import Job, JobSpec
from dnas.runs import FINAL, RunFolder, stage_before

logger = logging.getLogger(__name__)


class FinalJobs:
    """Turns the jobs of a stage, once all of them are over, into jobs of the final stage after it.

    Args:
        run: The run folder.
        config: The final stage's config, ``BEST_ARCH_PARAM`` not yet filled in.
        kind: Which of ``dnas.runs.FINALS`` it is.
    """

    def __init__(self, run: RunFolder, config: TuningConfig, kind: str = FINAL) -> None:
        self._run = run
        self._config = config
        self._kind = kind
        self._templates = expand(config, kind)
        self._told: list[str] = []

    def of_earlier_choice(self) -> list[JobSpec]:
        """The jobs that follow from the choice of an earlier session; none if there is none.

        Raises:
            JobError: It is damaged, or was made for another ``NUM_BEST_ARCHS``.
        """
        choice = self._earlier()
        return [] if choice is None else self._specs(choice)

    def after(self, jobs: Iterable[Job], note: Callable[[str, str], None]) -> list[JobSpec]:
        """The jobs that follow when all others are over.

        The choice is on disk before this returns, so that a manager killed at any moment makes the
        same one when it is started again.

        Args:
            jobs: All jobs that are over; those of the stage before count.
            note: Gets what happened, in a word and in a sentence, for the run's record.

        Raises:
            JobError: No choice can be made, or that of an earlier session is of no use.
            OSError: It cannot be written.
        """
        before = [job for job in jobs if job.kind == stage_before(self._kind)]
        number = self._config.num_best_archs
        choice = self._earlier()
        if choice is not None:
            self._compare(choice, before, note)
            return self._specs(choice)
        choice = choose(self._run, before, number)
        write_choice(self._run, self._kind, choice)
        note("chosen", f"for {self._kind}, {choice}")
        if len(choice.chosen) < number:
            logger.warning(
                "NUM_BEST_ARCHS:%d, but only %d architectures have been trained: these are chosen",
                number,
                len(choice.chosen),
            )
        return self._specs(choice)

    def _earlier(self) -> Choice | None:
        choice = read_choice(self._run, self._kind)
        if choice is not None and choice.number != self._config.num_best_archs:
            line = self._config.key_lines.get("NUM_BEST_ARCHS", self._config.lines[-1][0])
            raise JobError(
                f"{self._config.path}:{line}: NUM_BEST_ARCHS is {self._config.num_best_archs}, but "
                f"{self._run.choice(self._kind)} was made for {choice.number}; put the number "
                "back, or choose another experiment id"
            )
        return choice

    def _compare(self, choice: Choice, before: list[Job], note: Callable[[str, str], None]) -> None:
        """Say so if the jobs before, some of which ran again since, would give another choice."""
        try:
            today = choose(self._run, before, choice.number)
        except JobError:
            return  # nothing to compare with
        chosen, best = ([c.canonical_id for c in found.chosen] for found in (choice, today))
        if best not in (chosen, self._told):
            self._told = best
            text = f"that of before stays for {self._kind}, though today's would be {today}"
            logger.warning("choice: %s", text)
            note("choice kept", text)

    def _specs(self, choice: Choice) -> list[JobSpec]:
        return [
            replace(
                template,
                architecture=str((self._run.path / candidate.architecture).absolute()),
                canonical_id=candidate.canonical_id,
            )
            for candidate in choice.chosen
            for template in self._templates
        ]


def next_final_jobs(
    stages: Sequence[FinalJobs], jobs: Collection[Job], note: Callable[[str, str], None]
) -> list[JobSpec]:
    """The jobs of the first stage that has any to add, when all others are over.

    A stage whose jobs are all over is passed by, so that the one after it chooses among them.

    Args:
        stages: The final stages of a run, in order.
        jobs: All jobs that are over.
        note: As for :meth:`FinalJobs.after`.

    Raises:
        JobError, OSError: As for :meth:`FinalJobs.after`.
    """
    known = {job.spec.identity for job in jobs}
    for stage in stages:
        specs = stage.after(jobs, note)
        if any(spec.identity not in known for spec in specs):
            return specs
    return []


def jobs_of_earlier_choices(run: RunFolder, stages: Mapping[str, FinalJobs]) -> list[JobSpec]:
    """The jobs that follow from the choices of earlier sessions.

    Args:
        run: The run folder.
        stages: Kind -> final stage, in order.

    Raises:
        JobError: A choice is damaged or of no use, or one is gone that a later one was made after.
    """
    specs: list[JobSpec] = []
    gone = None
    for kind, stage in stages.items():
        found = stage.of_earlier_choice()
        if found and gone is not None:
            raise JobError(
                f"{run.choice(kind)} was made by the trainings of {gone}, whose choice, "
                f"{run.choice(gone)}, is gone; to choose anew, remove both"
            )
        gone = gone if found else gone or kind
        specs += found
    return specs
