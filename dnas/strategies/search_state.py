"""How far a search is, and what it has found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dnas.core import Architecture


@dataclass(frozen=True)
class SampledArchitecture:
    """An architecture that the search gave, and where in the search it came from."""

    architecture: Architecture
    kind: str
    """``"draw"`` from softmax(theta), ``"most_likely"``, or ``"random"`` (theta ignored)."""
    step: int
    theta_epochs: float
    log_probability: float
    costs: Mapping[str, float]

    def provenance(self) -> dict[str, Any]:
        """What an ArchitectureRecord keeps of it."""
        return {
            "kind": self.kind,
            "step": self.step,
            "theta_epochs": self.theta_epochs,
            "log_probability": self.log_probability,
        }


@dataclass(frozen=True)
class SearchResult:
    """What a finished search gives."""

    architectures: tuple[SampledArchitecture, ...]
    validation: Mapping[str, float | None] | None
    """Metrics of the most likely architecture with shared weights at the end, if validated."""
    steps: int


@dataclass
class SearchPosition:
    """How far the search is; all that the loop counts."""

    phase: int = 0
    step: int = 0
    """Next step of the phase's own counter."""
    global_step: int = 0
    theta_epochs: float = 0.0
    sampled: list[SampledArchitecture] = field(default_factory=list)
    validation: dict[str, float | None] | None = None

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "phase": self.phase,
            "step": self.step,
            "global_step": self.global_step,
            "theta_epochs": self.theta_epochs,
            "validation": self.validation,
            "sampled": [
                {"decisions": dict(s.architecture), **s.provenance(), "costs": dict(s.costs)}
                for s in self.sampled
            ],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> SearchPosition:
        """What ``state_dict`` described."""
        sampled = [
            SampledArchitecture(
                architecture=Architecture(entry["decisions"]),
                **{k: v for k, v in entry.items() if k != "decisions"},
            )
            for entry in state["sampled"]
        ]
        return cls(**{**state, "sampled": sampled})
