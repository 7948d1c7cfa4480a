"""Prior: where paths, candidates and neighbours come from, in one search space.

Searches with shared weights know architectures from three sides: *paths*, which train the
supernet; *candidates*, which random search and the first population of an evolution are made of;
*neighbours*, one mutation away from a given architecture, or made of the decisions of two. A space
that knows better than "every option is equally likely" says so in a Prior of its own
(``SearchSpace.prior``).

All draws take a generator on the CPU and nothing else that is random, so that equal generators give
equal architectures on every device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch

from dnas.core.architecture import Architecture, Option
from dnas.core.sampling import below, happens
from dnas.core.supernet import SuperNet
from dnas.errors import ArchitectureError, ConfigError


class Prior(ABC):
    """Where paths, candidates and neighbours come from, in one search space.

    ``crossover`` and ``redraw`` are written here for spaces in which every combination of options
    is an architecture; override both where decisions depend on each other.
    """

    #: Whose architectures these are.
    super_net: SuperNet
    #: Names for ``--path_sampling``; the first is the default.
    strategies: tuple[str, ...]

    @abstractmethod
    def path(self, strategy: str, generator: torch.Generator) -> Architecture:
        """A path to train.

        Args:
            strategy: One of ``strategies``.
            generator: On the CPU.

        Raises:
            ConfigError: There is no such strategy.
        """

    def full_path(self) -> Architecture | None:
        """Everything on, for the warm-up of a supernet; None where the space has no such path."""
        return None

    @abstractmethod
    def candidate(self, generator: torch.Generator) -> Architecture:
        """A random architecture to evaluate."""

    @abstractmethod
    def mutate(self, architecture: Architecture, generator: torch.Generator) -> Architecture:
        """``architecture`` after ONE mutation: valid, trimmed; it may be the same network."""

    def crossover(
        self, first: Architecture, second: Architecture, generator: torch.Generator
    ) -> Architecture:
        """Every decision as in one of two parents, by a fair coin of its own; trimmed.

        A decision that has an effect in one parent only is that parent's; one that has none in
        either, but in the child, is drawn uniformly.
        """
        decisions: dict[str, Option] = {}
        for key, options in self._options():
            parents = [parent[key] for parent in (first, second) if key in parent]
            pool = parents or options
            decisions[key] = pool[below(len(pool), generator)]
        return self.super_net.validate(decisions)

    def redraw(
        self, architecture: Architecture, probability: float, generator: torch.Generator
    ) -> Architecture:
        """Every decision drawn anew with ``probability``, each independently; trimmed.

        Draws are uniform over all options, that which was taken included. Decisions that have an
        effect only now are drawn too.
        """
        decisions: dict[str, Option] = {}
        for key, options in self._options():
            if key in architecture and not happens(probability, generator):
                decisions[key] = architecture[key]
            else:
                decisions[key] = options[below(len(options), generator)]
        return self.super_net.validate(decisions)

    def _options(self) -> Iterator[tuple[str, list[Option]]]:
        """Every decision with its options."""
        for choice in self.super_net.choices.values():
            for key, row in zip(choice.keys, choice.options, strict=True):
                yield key, [option for option in row if option is not None]

    def check_strategy(self, strategy: str) -> str:
        """``strategy`` itself; the default for the empty string.

        Raises:
            ConfigError: There is no such strategy; the message lists those there are.
        """
        if strategy and strategy not in self.strategies:
            raise ConfigError(
                f"--path_sampling={strategy}: this space has {', '.join(self.strategies)}"
            )
        return strategy or self.strategies[0]


class UniformPrior(Prior):
    """Every option of every decision is equally likely, in any SuperNet.

    Args:
        super_net: Its Choices are drawn from.
    """

    strategies = ("uniform",)

    def __init__(self, super_net: SuperNet) -> None:
        self.super_net = super_net

    def path(self, strategy: str, generator: torch.Generator) -> Architecture:
        """A uniform draw."""
        self.check_strategy(strategy)
        return self.super_net.random_architecture(generator)

    def candidate(self, generator: torch.Generator) -> Architecture:
        """A uniform draw."""
        return self.super_net.random_architecture(generator)

    def mutate(self, architecture: Architecture, generator: torch.Generator) -> Architecture:
        """One of the decisions with an effect takes another of its options.

        Both are uniform draws. Decisions that have an effect only now are drawn too.

        Raises:
            ArchitectureError: Every decision has a single option, or ``architecture`` takes
                one that does not exist.
        """
        others: dict[str, list[Option]] = {}
        missing: dict[str, Option] = {}
        for choice in self.super_net.choices.values():
            for row, key in enumerate(choice.keys):
                options = [option for option in choice.options[row] if option is not None]
                if key not in architecture:
                    missing[key] = options[below(len(options), generator)]
                elif len(options) > 1:
                    taken = choice.options[row][choice.index(row, architecture[key])]
                    others[key] = [option for option in options if option is not taken]
        if not others:
            raise ArchitectureError("nothing to mutate: every decision has a single option")
        key = list(others)[below(len(others), generator)]
        changed = others[key][below(len(others[key]), generator)]
        return self.super_net.trim(Architecture({**missing, **architecture, key: changed}))
