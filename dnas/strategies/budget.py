"""How many architectures a search evaluates."""

from __future__ import annotations

from dataclasses import dataclass

from dnas.errors import ConfigError


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
