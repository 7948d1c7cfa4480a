"""The final stage: the best sampled architectures, trained again by jobs of a config of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from dnas.errors import JobError
from dnas.jobs.choice import Choice, choose, read_choice, write_choice
from dnas.jobs.config import TuningConfig, expand
from dnas.jobs.job import Job, JobSpec
from dnas.runs import FINAL, SAMPLED, RunFolder

logger = logging.getLogger(__name__)


class FinalJobs:
    """Turns the sampled jobs of a run, once all of them are over, into jobs of the final stage.

    Args:
        run: The run folder.
        config: The final stage's config, ``BEST_ARCH_PARAM`` not yet filled in.
    """

    def __init__(self, run: RunFolder, config: TuningConfig) -> None:
        self._run = run
        self._config = config
        self._templates = expand(config, FINAL)

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
            jobs: All jobs that are over; the sampled ones count.
            note: Gets what happened, in a word and in a sentence, for the run's record.

        Raises:
            JobError: No choice can be made, or that of an earlier session is of no use.
            OSError: It cannot be written.
        """
        sampled = [job for job in jobs if job.kind == SAMPLED]
        number = self._config.num_best_archs
        choice = self._earlier()
        if choice is not None:
            self._compare(choice, sampled, note)
            return self._specs(choice)
        choice = choose(self._run, sampled, number)
        write_choice(self._run, choice)
        note("chosen", str(choice))
        if len(choice.chosen) < number:
            logger.warning(
                "NUM_BEST_ARCHS:%d, but only %d architectures have been trained: these are chosen",
                number,
                len(choice.chosen),
            )
        return self._specs(choice)

    def _earlier(self) -> Choice | None:
        choice = read_choice(self._run)
        if choice is not None and choice.number != self._config.num_best_archs:
            line = self._config.key_lines.get("NUM_BEST_ARCHS", self._config.lines[-1][0])
            raise JobError(
                f"{self._config.path}:{line}: NUM_BEST_ARCHS is {self._config.num_best_archs}, but "
                f"{self._run.choice} was made for {choice.number}; put the number back, or choose "
                "another experiment id"
            )
        return choice

    def _compare(
        self, choice: Choice, sampled: list[Job], note: Callable[[str, str], None]
    ) -> None:
        """Say so if the sampled jobs, some of which ran again since, would give another choice."""
        try:
            today = choose(self._run, sampled, choice.number)
        except JobError:
            return  # nothing to compare with
        chosen, best = ([c.canonical_id for c in found.chosen] for found in (choice, today))
        if chosen != best:
            text = f"that of before stays, though today's would be {today}"
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
