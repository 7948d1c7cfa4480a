"""CandidateSearch: ask a strategy for architectures, evaluate them, tell it their scores.

Each network is evaluated once: what is known by its canonical id is not evaluated again. That is
also how a search goes on after it was killed: the strategy is asked and told from the start, and
everything up to the last line of the log is known already.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError, DivergenceError
from dnas.runs import JobFolder
from dnas.strategies.candidate_log import Candidate, CandidateLog
from dnas.strategies.evaluation_pool import Evaluations
from dnas.strategies.strategy import Strategy
from dnas.training.job_files import JobFiles
from dnas.training.progress import Progress
from dnas.training.task import Task
from dnas.training.world import World

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoundArchitecture:
    """One of the best architectures of a search.

    Attributes:
        architecture: What was found.
        kind: Name of the strategy.
        rank: From 1, the best.
        candidate: How it was evaluated.
    """

    architecture: Architecture
    kind: str
    rank: int
    candidate: Candidate

    def provenance(self) -> dict[str, Any]:
        """What an ArchitectureRecord keeps of it."""
        line = self.candidate.to_json()
        return {
            "kind": self.kind,
            "rank": self.rank,
            **{name: line[name] for name in ("score", "metrics", "iteration", "candidate")},
        }


class CandidateSearch:
    """Runs a strategy to its end.

    Args:
        strategy: At its start.
        evaluate: Evaluates what it asks for.
        super_net: Knows canonical forms and costs.
        task: Makes a score of metrics.
        folder: Where candidates and metrics go; None writes nothing.
        fingerprint: What else decides the metrics: rows, fine-tuning, weights.
        top_k: Architectures to give at the end.
        first_step: Steps that trained the supernet: evaluations are counted on from there.

    Raises:
        ConfigError: ``top_k`` is not positive.
        JobError: The folder has the candidates of another search.
    """

    def __init__(
        self,
        strategy: Strategy,
        evaluate: Evaluations,
        *,
        super_net: SuperNet,
        task: Task,
        folder: JobFolder | None = None,
        fingerprint: Mapping[str, Any] | None = None,
        top_k: int = 15,
        first_step: int = 0,
    ) -> None:
        if top_k < 1:
            raise ConfigError(f"--top_k must be at least 1, but got {top_k}")
        self.strategy = strategy
        self.evaluate = evaluate
        self.super_net = super_net
        self.task = task
        self.top_k = top_k
        self.first_step = first_step
        self.files = JobFiles(folder, World(), {})
        self.log = CandidateLog(
            None if folder is None else folder.candidates,
            {**strategy.describe(), **(fingerprint or {})},
        )

    def run(self) -> list[FoundArchitecture]:
        """Search to the end, or on from the log; the best architectures, best first.

        Raises:
            ConfigError: Nothing is within the cost limits.
            DivergenceError: No candidate has a score.
            Preempted: Stopping was asked for; what was evaluated is kept.
        """
        self.files.rewind_metrics(self.first_step)
        strategy = self.strategy
        if self.log.candidates:
            logger.info("%d candidates are evaluated already", len(self.log.candidates))
        started = time.monotonic()
        told: set[str] = set()
        with self.files.progress(strategy.name, strategy.evaluations, 0) as progress:
            while architectures := strategy.ask():
                iteration = strategy.iteration
                candidates = self._evaluated(architectures, told, progress)
                strategy.tell(architectures, [candidate.score for candidate in candidates])
                told.update(candidate.canonical_id for candidate in candidates)
                self._report(iteration, candidates, len(told), started, progress)
        if len(told) < strategy.evaluations:
            logger.warning(
                "%s ended after %d of %d candidates: nothing new was found",
                strategy.name,
                len(told),
                strategy.evaluations,
            )
        best = self.log.best(self.top_k)
        if not best:
            raise DivergenceError(
                f"none of {len(told)} candidates has a finite {self.task.selection}: the supernet "
                "has diverged; lower the learning rate of its training",
                step=self.first_step + len(told),
                last_good={},
            )
        return [
            FoundArchitecture(candidate.architecture, strategy.name, rank, candidate)
            for rank, candidate in enumerate(best, start=1)
        ]

    def _evaluated(
        self, architectures: Sequence[Architecture], told: Collection[str], progress: Progress
    ) -> list[Candidate]:
        """Each architecture as a candidate, from the log or newly evaluated.

        ``told`` are canonical ids of earlier iterations; a strategy may ask for these again.
        """
        known = self.log.candidates
        ids = [self.super_net.canonical(found).id for found in architectures]
        new: dict[str, Architecture] = {}
        for canonical, found in zip(ids, architectures, strict=True):
            if canonical not in known:
                new.setdefault(canonical, found)
        progress.done += len({*ids}.difference(told, new))
        for (canonical, found), metrics in zip(
            new.items(), self.evaluate(list(new.values())), strict=True
        ):
            self.log.add(
                Candidate(
                    number=len(known),
                    iteration=self.strategy.iteration,
                    architecture=found,
                    canonical_id=canonical,
                    score=self.task.score(metrics),
                    metrics=metrics,
                    costs=self.super_net.cost(found),
                )
            )
            progress.advance(self.strategy.name, float(self.strategy.iteration))
        return [known[canonical] for canonical in ids]

    def _report(
        self,
        iteration: int,
        candidates: Sequence[Candidate],
        told: int,
        started: float,
        progress: Progress,
    ) -> None:
        finite = [c.score for c in candidates if c.score < float("inf")]
        line = {
            "event": "iteration",
            "phase": self.strategy.name,
            "step": self.first_step + told,
            "iteration": iteration,
            "evaluations": told,
            "best_score": min(finite) if finite else None,
            "mean_score": sum(finite) / len(finite) if finite else None,
            "seconds": round(time.monotonic() - started, 3),
        }
        self.files.append_metrics(line)
        for best in self.log.best(1):
            progress.note(best=best.score)
            progress.metric(f"best {self.task.selection}", best.metrics[self.task.selection])
            logger.info(
                "%s: iteration %d, %d candidates evaluated, best %s %s (%s)",
                self.strategy.name,
                iteration,
                told,
                self.task.selection,
                best.metrics[self.task.selection],
                best.architecture.id,
            )
