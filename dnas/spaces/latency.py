"""Latency by a table of measured operators: as a cost of a supernet, and of one architecture.

It is the sum of the operators' prices, times the factor by which whole models of this space took
longer than their operators when the table was made (:mod:`dnas.costs.whole`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.core import Architecture, Operator, SuperNet
from dnas.costs import CostTable, Price, Whole, space_key, whole_models
from dnas.costs.whole import LEAST_MODELS
from dnas.errors import CostError
from dnas.spaces.base import SearchSpace
from dnas.spaces.overrides import asked_of_supernet

logger = logging.getLogger(__name__)

#: The cost's name; in microseconds of a forward pass of a batch.
LATENCY = "latency"


@dataclass(frozen=True)
class SpaceLatency:
    """A table of measured operators as a cost in one space.

    Attributes:
        table: The prices.
        whole: From sums of prices to whole models of this space.
        hash: Of all that latencies in this space follow from: conditions, prices of its operators,
            and the factor. What the table has of other spaces is no part of it.
    """

    table: CostTable
    whole: Whole
    hash: str

    def price(self, operator: Operator) -> float:
        """Microseconds that one run of an operator adds to a model."""
        return self.table.price(operator).us * self.whole.factor

    def describe(self) -> dict[str, Any]:
        """What a latency was computed from, as JSON."""
        return {
            "hash": self.hash,
            "whole_factor": self.whole.factor,
            **self.table.conditions.to_json(),
        }


@dataclass(frozen=True)
class LatencyTable:
    """A table of measured operators, ready to be a cost.

    Attributes:
        table: The prices, of one space or several.
    """

    table: CostTable

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a file that ``dnas profile`` wrote.

        Raises:
            CostError: There is none, or it is damaged.
        """
        return cls(CostTable.load(path))

    def of(self, super_net: SuperNet) -> SpaceLatency:
        """What the table says of the space of ``super_net``.

        Raises:
            CostError: The space does not say what it runs, or what the table has of it is damaged.
        """
        key = space_key(super_net)
        whole = Whole.of(whole_models(self.table, key))
        operators = super_net.operators()
        doubts = self.table.doubts(operators)
        if whole.models < LEAST_MODELS:
            doubts.append(
                f"{whole.models} whole models of this space were measured beside them (--check), "
                f"with fewer than {LEAST_MODELS} latencies are plain sums of operators"
            )
        if doubts:
            logger.warning(
                "the cost table %s is not finished: %s; start the dnas profile that made it again",
                self.table.source,
                "; ".join(doubts),
            )
        prices = [[str(operator), self._known(operator)] for operator in operators]
        parts = [self.table.conditions.to_json(), prices, f"{whole.factor:.9g}"]
        content = json.dumps(parts, sort_keys=True)
        return SpaceLatency(self.table, whole, hashlib.sha256(content.encode()).hexdigest()[:12])

    def _known(self, operator: Operator) -> str | None:
        """The price, as far as it is the same on every machine; None if there is none."""
        try:
            return f"{self.table.price(operator).us:.9g}"
        except CostError:
            return None

    def attach(self, super_net: SuperNet) -> SpaceLatency:
        """Give ``super_net`` the cost ``latency``.

        Raises:
            CostError: An operator of the space has no price; the message names it.
        """
        found = self.of(super_net)
        super_net.price(LATENCY, found.price)
        return found

    def predict(
        self, space: SearchSpace, config: Any, spec: Any, architecture: Architecture
    ) -> tuple[Price, SpaceLatency]:
        """Latency of one architecture, with its error, and what it follows from.

        Raises:
            CostError: It runs an operator that has no price.
        """

        def answer(super_net: SuperNet) -> tuple[Price, SpaceLatency]:
            found = self.of(super_net)
            return found.whole.price(self.table.total(super_net.runs(architecture))), found

        return asked_of_supernet(space, config, spec, answer)
