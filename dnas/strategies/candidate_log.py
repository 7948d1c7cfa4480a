"""The file of all evaluated candidates, from which a search goes on.

The first line says of which search it is, each other line is one candidate, in the order of
evaluation. Lines are appended whole; what a crash has left of a line is dropped at the next start,
and its candidate evaluated again. Nothing in it depends on time or place: an interrupted search
ends with the same file as one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.core import Architecture
from dnas.errors import JobError
from dnas.files import append_json_line, keep_json_lines, read_json_lines
from dnas.training.checkpoint import check_fingerprint
from dnas.training.task import Metrics


@dataclass(frozen=True)
class Candidate:
    """An architecture that was evaluated.

    Attributes:
        number: Candidates evaluated before it.
        iteration: Of the search, from 0.
        architecture: As it was evaluated.
        canonical_id: Equal for networks that are the same when trained from scratch.
        score: Lower is better; inf where the metrics have none.
        metrics: With shared weights.
        costs: By name.
    """

    number: int
    iteration: int
    architecture: Architecture
    canonical_id: str
    score: float
    metrics: Metrics
    costs: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """A line of the file."""
        return {
            "candidate": self.number,
            "iteration": self.iteration,
            "id": self.architecture.id,
            "canonical_id": self.canonical_id,
            "score": self.score if self.score < float("inf") else None,
            "metrics": dict(self.metrics),
            "costs": dict(self.costs),
            "decisions": dict(self.architecture),
        }

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Candidate:
        """What ``to_json`` gave."""
        return cls(
            number=line["candidate"],
            iteration=line["iteration"],
            architecture=Architecture(line["decisions"]),
            canonical_id=line["canonical_id"],
            score=float("inf") if line["score"] is None else line["score"],
            metrics=line["metrics"],
            costs=line["costs"],
        )


class CandidateLog:
    """Candidates by canonical id, kept in a file.

    Args:
        path: The file; None: kept in memory alone.
        fingerprint: What decides the candidates and their metrics, as JSON.

    Raises:
        JobError: The file is that of another search.
    """

    def __init__(self, path: Path | None, fingerprint: Mapping[str, Any]) -> None:
        self._path = path
        self.candidates: dict[str, Candidate] = {}
        if path is None:
            return
        # JSON has lists where Python has tuples.
        fingerprint = json.loads(json.dumps(dict(fingerprint)))
        if path.exists():
            keep_json_lines(path, _InOrder())
        lines = read_json_lines(path)
        if lines:
            if "fingerprint" not in lines[0]:
                raise JobError(
                    f"{path}: its first line does not say of which search it is; move the file "
                    "away to begin again"
                )
            check_fingerprint(path, lines[0]["fingerprint"], fingerprint)
            for line in lines[1:]:
                candidate = Candidate.from_json(line)
                self.candidates[candidate.canonical_id] = candidate
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            append_json_line(path, {"event": "search", "fingerprint": fingerprint})

    def add(self, candidate: Candidate) -> None:
        """Append a candidate."""
        self.candidates[candidate.canonical_id] = candidate
        if self._path is not None:
            append_json_line(self._path, candidate.to_json())

    def best(self, count: int) -> list[Candidate]:
        """The ``count`` best of those with a score, the earlier of equally good ones first."""
        scored = (entry for entry in self.candidates.values() if entry.score < float("inf"))
        return sorted(scored, key=lambda entry: (entry.score, entry.number))[:count]


class _InOrder:
    """Whether a line is the one that follows those before it, of which the first has no number.

    After a damaged line nothing is kept: it is evaluated again in the order it had.
    """

    def __init__(self) -> None:
        self._number = -1

    def __call__(self, line: Any) -> bool:
        follows = isinstance(line, dict) and line.get("candidate", -1) == self._number
        self._number += follows
        return follows
