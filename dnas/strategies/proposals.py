"""Proposals: architectures that are new and within the cost limits."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import NoReturn

from dnas.core import Architecture, SuperNet
from dnas.errors import ConfigError

logger = logging.getLogger(__name__)

#: Draws for one architecture, before there is held to be none. A cheap one may be rare.
MAX_TRIES = 1000
#: Draws among them that are known already, before there is held to be nothing new: then more than
#: 99% of what is drawn is known, in all likelihood.
MAX_KNOWN = 300


class Proposals:
    """Finds architectures that are networks of their own, by canonical id, and cheap enough.

    Args:
        super_net: Knows canonical forms and costs.
        cost_limits: Cost name -> the most that an architecture may cost.
        max_tries: Draws for one architecture.
        max_known: How many of them may be known already.
    """

    def __init__(
        self,
        super_net: SuperNet,
        cost_limits: Mapping[str, float] | None = None,
        *,
        max_tries: int = MAX_TRIES,
        max_known: int = MAX_KNOWN,
    ) -> None:
        self.super_net = super_net
        self.cost_limits = dict(cost_limits or {})
        self.max_tries = max_tries
        self.max_known = max_known
        #: Canonical ids of what was evaluated.
        self.seen: set[str] = set()

    def note(self, architectures: Iterable[Architecture]) -> None:
        """These have been evaluated."""
        self.seen.update(self.super_net.canonical(found).id for found in architectures)

    def take(
        self,
        count: int,
        draw: Callable[[int], Architecture],
        *,
        besides: Iterable[Architecture] = (),
    ) -> list[Architecture]:
        """Up to ``count`` new architectures; fewer where nothing new is found.

        Args:
            count: How many.
            draw: From the number of failed tries to an architecture.
            besides: Taken already, though not yet noted: not new either.

        Raises:
            ConfigError: There is no such cost; or all draws were too expensive, and nothing has
                been found before either.
        """
        found: list[Architecture] = []
        known = self.seen | {self.super_net.canonical(taken).id for taken in besides}
        while len(found) < count:
            architecture = self._find(draw, known)
            if architecture is None:
                logger.warning(
                    "%d new architectures where %d were wanted: all draws for another one were "
                    "known already%s",
                    len(found),
                    count,
                    ", or too expensive" if self.cost_limits else "",
                )
                break
            found.append(architecture)
        return found

    def _find(self, draw: Callable[[int], Architecture], known: set[str]) -> Architecture | None:
        cheapest: dict[str, float] = {}
        known_draws = 0
        for tries in range(self.max_tries):
            architecture = draw(tries)
            canonical = self.super_net.canonical(architecture).id
            if canonical in known:
                known_draws += 1
                if known_draws == self.max_known:
                    return None
                continue
            if self._is_cheap(architecture, cheapest):
                known.add(canonical)
                return architecture
        if not known:
            self._refuse(cheapest)
        return None

    def cheap(self, draw: Callable[[], Architecture]) -> Architecture | None:
        """An architecture within the limits, known or new; None where none is found any more.

        Raises:
            ConfigError: As :meth:`take`.
        """
        cheapest: dict[str, float] = {}
        for _ in range(self.max_tries):
            architecture = draw()
            if self._is_cheap(architecture, cheapest):
                return architecture
        if not self.seen:
            self._refuse(cheapest)
        return None

    def _is_cheap(self, architecture: Architecture, cheapest: dict[str, float]) -> bool:
        """Whether it is within the limits; notes in ``cheapest`` what the others cost at least."""
        costs = self._limited_costs(architecture)
        if all(costs[name] <= limit for name, limit in self.cost_limits.items()):
            return True
        for name, cost in costs.items():
            cheapest[name] = min(cost, cheapest.get(name, cost))
        return False

    def _refuse(self, cheapest: Mapping[str, float]) -> NoReturn:
        limits = ", ".join(
            f"{name} <= {limit:g} (the least drawn was {cheapest[name]:g})"
            for name, limit in self.cost_limits.items()
        )
        raise ConfigError(
            f"--cost_limit: none of {self.max_tries} architectures drawn has {limits}; raise "
            "the limit"
        )

    def _limited_costs(self, architecture: Architecture) -> dict[str, float]:
        if not self.cost_limits:
            return {}
        costs = self.super_net.cost(architecture)
        for name in self.cost_limits:
            if name not in costs:
                raise ConfigError(
                    f"--cost_limit {name}: there is no such cost; this space has "
                    f"{', '.join(sorted(costs))}"
                )
        return {name: costs[name] for name in self.cost_limits}
