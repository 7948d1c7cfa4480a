"""What searches that learn from scores have in common: a budget, limits, a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from dnas.core import SuperNet
from dnas.errors import ConfigError
from dnas.strategies.proposals import Proposals


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the settings of all searches that learn from scores have in common.

    Attributes:
        population: Architectures of the first iteration.
        children: Architectures of each iteration after it.
        iterations: After the first.
    """

    population: int = 64
    children: int = 16
    iterations: int = 100

    def __post_init__(self) -> None:
        self._check_at_least(1, "population", "children")
        self._check_at_least(0, iterations="n_iterations")

    def _check_at_least(self, least: int, *names: str, **flags: str) -> None:
        """Refuse smaller numbers in fields that are called like their flags, or as ``flags`` say.

        Raises:
            ConfigError: There is one.
        """
        for name, flag in {**{name: name for name in names}, **flags}.items():
            if getattr(self, name) < least:
                raise ConfigError(
                    f"--{flag} must be at least {least}, but got {getattr(self, name)}"
                )

    @property
    def evaluations(self) -> int:
        """Architectures that are evaluated in all."""
        return self.population + self.children * self.iterations


SettingsT = TypeVar("SettingsT", bound=Budget)


class BudgetedSearch(Generic[SettingsT]):
    """State that all these strategies have; see :mod:`dnas.strategies.strategy`.

    Args:
        super_net: Knows canonical forms and costs.
        settings: The numbers of the search.
        cost_limits: Cost name -> the most that an architecture may cost.
        seed: Of all draws.

    Attributes:
        proposals: What has been evaluated, and what is cheap enough.
        evaluations: Architectures that are evaluated in all.
        iteration: The next one, from 0.
    """

    name: str

    def __init__(
        self,
        super_net: SuperNet,
        settings: SettingsT,
        cost_limits: Mapping[str, float] | None,
        seed: int,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.proposals = Proposals(super_net, cost_limits)
        self.evaluations = settings.evaluations
        self.iteration = 0

    def describe(self) -> dict[str, Any]:
        """Name, numbers, limits and seed."""
        return {
            "name": self.name,
            **asdict(self.settings),
            "cost_limits": self.proposals.cost_limits,
            "seed": self.seed,
        }
