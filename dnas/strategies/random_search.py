"""Random search: candidates of the prior, none twice; what any other search has to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from dnas.core import Architecture, Prior, SuperNet
from dnas.errors import ConfigError
from dnas.strategies.proposals import Proposals
from dnas.training.seeding import make_generator

_CPU = torch.device("cpu")


class RandomSearch:
    """A Strategy, see :mod:`dnas.strategies.strategy`.

    Args:
        prior: Gives the candidates.
        super_net: Knows canonical forms and costs.
        evaluations: Candidates in all.
        per_iteration: Candidates of an iteration.
        cost_limits: Cost name -> the most that an architecture may cost.
        seed: Of all draws.

    Raises:
        ConfigError: A number is not positive.
    """

    name = "random_search"

    def __init__(
        self,
        prior: Prior,
        super_net: SuperNet,
        *,
        evaluations: int,
        per_iteration: int = 16,
        cost_limits: Mapping[str, float] | None = None,
        seed: int = 1,
    ) -> None:
        if evaluations < 1 or per_iteration < 1:
            raise ConfigError(
                f"evaluations and per_iteration must be at least 1, but got {evaluations} and "
                f"{per_iteration}"
            )
        self.prior = prior
        self.evaluations = evaluations
        self.per_iteration = per_iteration
        self.seed = seed
        self.proposals = Proposals(super_net, cost_limits)
        self.iteration = 0

    def ask(self) -> list[Architecture]:
        """The next candidates."""
        count = min(self.per_iteration, self.evaluations - len(self.proposals.seen))
        generator = make_generator(_CPU, self.seed, self.name, self.iteration)
        return self.proposals.take(count, lambda _: self.prior.candidate(generator))

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """Nothing is learned but what not to draw again."""
        self.proposals.note(architectures)
        self.iteration += 1

    def describe(self) -> dict[str, Any]:
        """Name, numbers, limits and seed."""
        return {
            "name": self.name,
            "evaluations": self.evaluations,
            "per_iteration": self.per_iteration,
            "cost_limits": self.proposals.cost_limits,
            "seed": self.seed,
        }

    def state_dict(self) -> dict[str, Any]:
        """Iteration, and what was evaluated."""
        return {"iteration": self.iteration, "seen": sorted(self.proposals.seen)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.iteration = state["iteration"]
        self.proposals.seen = set(state["seen"])
