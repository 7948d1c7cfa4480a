"""Regularized evolution [Real2019]_ with several mutations in the beginning [Zhang2023nasrec]_.

Each iteration draws a sample of the population, takes its best architecture as the parent, and
replaces the oldest members of the population by mutated copies of it. That the oldest go, not the
worst, keeps an architecture that was lucky once from staying for ever.

.. [Real2019] E. Real, A. Aggarwal, Y. Huang, Q. V. Le. Regularized Evolution for Image Classifier
    Architecture Search. AAAI 2019, arXiv:1802.01548.
.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187. Sections 4.4 and 5.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dnas.core import Architecture, Prior, SuperNet
from dnas.errors import ConfigError
from dnas.strategies.budget import Budget, BudgetedSearch
from dnas.training.seeding import make_generator

_CPU = torch.device("cpu")
#: After so many draws that were no use, a child is mutated once more, up to as many times again as
#: in the first iteration: the neighbourhood of a parent may be known already.
TRIES_PER_MUTATION = 50


@dataclass(frozen=True, kw_only=True)
class EvolutionSettings(Budget):
    """Numbers of an evolution; the defaults are the paper's.

    Attributes:
        population: Members.
        sample_size: Members that compete to be the parent.
        children: New architectures of an iteration, all of one parent.
        iterations: After the first population.
        mutations: Of each child in the first iteration.
        mutation_decay: Iterations after which it is one mutation less, down to one.
    """

    sample_size: int = 32
    mutations: int = 5
    mutation_decay: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_at_least(1, "sample_size", "mutations", "mutation_decay")
        if self.sample_size > self.population:
            raise ConfigError(
                f"--sample_size={self.sample_size} is more than --population={self.population}"
            )

    def mutations_at(self, iteration: int) -> int:
        """Mutations of each child in an iteration, counted from 0."""
        return max(self.mutations - iteration // self.mutation_decay, 1)


class RegularizedEvolution(BudgetedSearch[EvolutionSettings]):
    """A Strategy, see :mod:`dnas.strategies.strategy`.

    Args:
        prior: Gives the first population, and mutates.
        super_net: Knows canonical forms and costs.
        settings: Its numbers.
        cost_limits: Cost name -> the most that an architecture may cost.
        seed: Of all draws.
    """

    name = "evolution"

    def __init__(
        self,
        prior: Prior,
        super_net: SuperNet,
        settings: EvolutionSettings | None = None,
        *,
        cost_limits: Mapping[str, float] | None = None,
        seed: int = 1,
    ) -> None:
        super().__init__(super_net, settings or EvolutionSettings(), cost_limits, seed)
        self.prior = prior
        #: Members with their scores, the oldest first.
        self.population: list[tuple[Architecture, float]] = []

    def ask(self) -> list[Architecture]:
        """The first population, then the children of each iteration."""
        settings = self.settings
        if self.iteration > settings.iterations:
            return []
        generator = make_generator(_CPU, self.seed, self.name, self.iteration)
        if self.iteration == 0:
            return self.proposals.take(
                settings.population, lambda _: self.prior.candidate(generator)
            )
        parent = self._parent(generator)
        mutations = settings.mutations_at(self.iteration - 1)

        def child(tries: int) -> Architecture:
            architecture = parent
            for _ in range(mutations + min(tries // TRIES_PER_MUTATION, settings.mutations)):
                architecture = self.prior.mutate(architecture, generator)
            return architecture

        return self.proposals.take(settings.children, child)

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """The architectures become members, and the oldest go."""
        self.proposals.note(architectures)
        self.population += zip(architectures, map(float, scores), strict=True)
        self.population = self.population[-self.settings.population :]
        self.iteration += 1

    def _parent(self, generator: torch.Generator) -> Architecture:
        """The best of a sample without replacement; the oldest of equally good ones."""
        order = torch.randperm(len(self.population), generator=generator).tolist()
        drawn = sorted(order[: self.settings.sample_size])
        return min((self.population[i] for i in drawn), key=lambda member: member[1])[0]

    def state_dict(self) -> dict[str, Any]:
        """Population, iteration, and what was evaluated."""
        return {
            "iteration": self.iteration,
            "population": [[dict(member), score] for member, score in self.population],
            "seen": sorted(self.proposals.seen),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.iteration = state["iteration"]
        self.population = [(Architecture(member), score) for member, score in state["population"]]
        self.proposals.seen = set(state["seen"])
