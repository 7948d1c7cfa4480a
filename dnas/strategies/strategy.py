"""Strategy: asked for architectures, told their scores, iteration by iteration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from dnas.core import Architecture


class Strategy(Protocol):
    """Chooses what is evaluated next.

    What is asked for is a function of what was told, and of the seed: a search is resumed by asking
    and telling again from the start, or from ``state_dict``.
    """

    #: Provenance of what it finds, such as ``"evolution"``.
    name: str
    #: Iterations told.
    iteration: int
    #: Architectures that will have been evaluated at the end, if all are found.
    evaluations: int

    def ask(self) -> list[Architecture]:
        """The architectures to evaluate next, the same until they are told; none at the end.

        What was asked for before, or is there twice, is not evaluated again, and does not count as
        an evaluation.

        Raises:
            ConfigError: There are none within the cost limits.
        """

    def tell(self, architectures: Sequence[Architecture], scores: Sequence[float]) -> None:
        """The scores of what was asked for; lower is better, inf for a failure."""

    def describe(self) -> dict[str, Any]:
        """Settings that decide what is asked for, as JSON."""

    def state_dict(self) -> dict[str, Any]:
        """Where the search stands, as plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
