"""Architectures that no search has looked at, written beside those that it found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dnas.core import Architecture, SuperNet
from dnas.strategies.extremes import extreme


@dataclass(frozen=True)
class Baseline:
    """An architecture to compare with.

    Attributes:
        architecture: The architecture.
        kind: ``random``; ``smallest`` or ``largest`` by ``cost``.
        cost: Name of the cost that it is an end of; None for a random one.
    """

    architecture: Architecture
    kind: str = "random"
    cost: str | None = None

    def provenance(self) -> Mapping[str, Any]:
        """Its kind and its cost."""
        return {"kind": self.kind} | ({} if self.cost is None else {"cost": self.cost})


def extremes(super_net: SuperNet, cost: str) -> list[Baseline]:
    """The cheapest and the dearest architecture, see :func:`dnas.strategies.extremes.extreme`."""
    return [
        Baseline(extreme(super_net, cost, largest=kind == "largest"), kind, cost)
        for kind in ("smallest", "largest")
    ]
