"""Genetic search [AutoTower]_: mutants and crossovers of the best architectures so far.

Every iteration evaluates new architectures, half of them mutants of a parent, half crossovers of
two, and draws its parents uniformly from the best of *all* that were evaluated. Other than in
:mod:`dnas.strategies.evolution` nothing ages: a good architecture stays a parent until enough
better ones are found. Costs come in as limits: what is above one is not evaluated.

.. [AutoTower] AutoTower: Efficient Neural Architecture Search for Two-Tower Recommendation.
    Section 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dnas.core import Architecture, Prior, SuperNet
from dnas.core.sampling import below
from dnas.errors import ConfigError
from dnas.strategies.budget import Budget, BudgetedSearch
from dnas.training.seeding import make_generator

_CPU = torch.device("cpu")
#: After so many children of parents that were no use, a random architecture is taken instead.
TRIES = 50


@dataclass(frozen=True, kw_only=True)
class GeneticSettings(Budget):
    """Numbers of a genetic search; the defaults are the paper's.

    Attributes:
        population: Random architectures of the first iteration.
        children: New architectures of each iteration after it, half of them mutants, the others
            crossovers; of an odd number one more is a mutant.
        iterations: After the first.
        parents: How many of the best are parents.
        mutation_probability: With which a mutant's decisions are drawn anew, each for itself.
    """

    population: int = 50
    children: int = 50
    iterations: int = 50
    parents: int = 10
    mutation_probability: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, parents="num_parents")
        if not 0 < self.mutation_probability <= 1:
            raise ConfigError(
                f"--mutation_probability must be in (0, 1], but got {self.mutation_probability}"
            )


class GeneticSearch(BudgetedSearch[GeneticSettings]):
    """A Strategy, see :mod:`dnas.strategies.strategy`.

    Args:
        prior: Gives random architectures, mutants (``redraw``) and crossovers.
        super_net: Knows canonical forms and costs.
        settings: Its numbers.
        cost_limits: Cost name -> the most that an architecture may cost.
        seed: Of all draws.
    """

    name = "genetic"

    def __init__(
        self,
        prior: Prior,
        super_net: SuperNet,
        settings: GeneticSettings | None = None,
        *,
        cost_limits: Mapping[str, float] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(super_net, settings or GeneticSettings(), cost_limits, seed)
        self.prior = prior
        #: The best so far with their scores, the best first; of equally good ones the earlier.
        self.parents: list[tuple[Architecture, float]] = []

    def ask(self) -> list[Architecture]:
        """Random architectures, then the children of each iteration."""
        settings = self.settings
        if self.iteration > settings.iterations:
            return []
        generator = make_generator(_CPU, self.seed, self.name, self.iteration)

        def random(_: int) -> Architecture:
            return self.prior.candidate(generator)

        def parent() -> Architecture:
            return self.parents[below(len(self.parents), generator)][0]

        def mutant() -> Architecture:
            return self.prior.redraw(parent(), settings.mutation_probability, generator)

        def crossover() -> Architecture:
            return self.prior.crossover(parent(), parent(), generator)

        def child(of_parents: Callable[[], Architecture]) -> Callable[[int], Architecture]:
            return lambda tries: of_parents() if tries < TRIES else random(tries)

        if not self.parents:
            count = settings.children if self.iteration else settings.population
            return self.proposals.take(count, random)
        mutants = self.proposals.take((settings.children + 1) // 2, child(mutant))
        crossovers = settings.children // 2
        return mutants + self.proposals.take(crossovers, child(crossover), besides=mutants)

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """The best of these and of the parents are the parents from now on."""
        self.proposals.note(architectures)
        told = zip(architectures, map(float, scores), strict=True)
        pool = [*self.parents, *(pair for pair in told if pair[1] < math.inf)]
        self.parents = sorted(pool, key=lambda pair: pair[1])[: self.settings.parents]
        self.iteration += 1

    def state_dict(self) -> dict[str, Any]:
        """Parents, iteration, and what was evaluated."""
        return {
            "iteration": self.iteration,
            "parents": [[dict(parent), score] for parent, score in self.parents],
            "seen": sorted(self.proposals.seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.iteration = state["iteration"]
        self.parents = [(Architecture(parent), score) for parent, score in state["parents"]]
        self.proposals.seen = set(state["seen"])
