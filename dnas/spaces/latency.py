"""Latency by a table of measured operators: as a cost of a supernet, and of one architecture.

It is the sum of the operators' prices, times the factor by which whole models took longer than
their operators when the table was made (:mod:`dnas.costs.whole`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dnas.core import Architecture, Operator, SuperNet
from dnas.costs import CostTable, Price, Whole
from dnas.spaces.base import SearchSpace
from dnas.spaces.overrides import asked_of_supernet

logger = logging.getLogger(__name__)

#: The cost's name; in microseconds of a forward pass of a batch.
LATENCY = "latency"


@dataclass(frozen=True)
class LatencyTable:
    """A table of measured operators, ready to be a cost.

    Attributes:
        table: The prices.
        whole: From sums of prices to whole models.
        hash: Of all that latencies follow from.
    """

    table: CostTable
    whole: Whole
    hash: str

    @classmethod
    def load(cls, path: str | Path) -> LatencyTable:
        """Read a file that ``dnas profile`` wrote; warn if it did not get to its end.

        Raises:
            CostError: There is none, or it is damaged.
        """
        table = CostTable.load(path)
        value = table.to_json()
        whole = Whole.of(table)
        if doubts := table.doubts():
            logger.warning(
                "the cost table %s is not finished: %s; start the dnas profile that made it again",
                path,
                "; ".join(doubts),
            )
        parts = [value["conditions"], value["entries"], whole.factor]
        content = json.dumps(parts, sort_keys=True)
        return cls(table, whole, hashlib.sha256(content.encode()).hexdigest()[:12])

    def attach(self, super_net: SuperNet) -> None:
        """Give ``super_net`` the cost ``latency``.

        Raises:
            CostError: An operator of the space has no price; the message names it.
        """
        super_net.price(LATENCY, self.price)

    def price(self, operator: Operator) -> float:
        """Microseconds that one run of an operator adds to a model."""
        return self.table.price(operator).us * self.whole.factor

    def predict(
        self, space: SearchSpace, config: Any, spec: Any, architecture: Architecture
    ) -> Price:
        """Latency of one architecture, with its error.

        Raises:
            CostError: It runs an operator that has no price.
        """

        def runs(super_net: SuperNet) -> dict[Operator, float]:
            sample = super_net.one_hot_sample(super_net.validate(architecture))
            counts = super_net.operator_terms(sample).by_operator()
            return {operator: float(count) for operator, count in counts.items()}

        summed = self.table.total(asked_of_supernet(space, config, spec, runs))
        return self.whole.price(summed)

    def describe(self) -> dict[str, Any]:
        """What a latency was computed from, as JSON."""
        return {
            "hash": self.hash,
            "whole_factor": self.whole.factor,
            **self.table.conditions.to_json(),
        }
