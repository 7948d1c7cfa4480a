"""Costs and operators that add up over decisions: weighted sums of what each option costs or runs.

Letters as in :mod:`dnas.core.sampling`: B rows, D decisions of a choice, K options of a decision.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dnas.core.choice import Choice
from dnas.core.operator import Operator, OperatorCounts
from dnas.core.sample import Sample
from dnas.errors import ArchitectureError

#: cost name -> choice name -> (D, K) table of the cost of each option.
OptionCosts = Mapping[str, Mapping[str, Sequence[Sequence[float]]]]
#: choice name -> (D, K) table of the operators that each option runs.
OptionOperators = Mapping[str, Sequence[Sequence[Sequence[Operator]]]]


class CostTables:
    """The tables of ``option_costs`` in float64 where theta is, 0 where there is no option.

    Kept while they say the same: copying one to a GPU makes the host wait.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Any, Tensor]] = {}

    def __call__(self, cost: str, choice: Choice, table: Sequence[Sequence[float]]) -> Tensor:
        """``(D, K)``.

        Raises:
            ArchitectureError: The table has another shape than the choice.
        """
        said = tuple(map(tuple, table))
        kept = self._kept.get((cost, choice.name))
        if kept is not None and kept[0] == said and kept[1].device == choice.theta.device:
            return kept[1]
        numbers = torch.tensor(said, dtype=torch.float64, device=choice.theta.device)
        if numbers.shape != choice.theta.shape:
            raise ArchitectureError(
                f"option_costs()[{cost!r}][{choice.name!r}] has shape {tuple(numbers.shape)}, "
                f"but the choice has {tuple(choice.theta.shape)} (decisions, options)"
            )
        numbers = numbers.masked_fill(~choice.valid, 0.0)
        self._kept[cost, choice.name] = said, numbers
        return numbers


def option_counts(
    choices: Mapping[str, Choice], sample: Sample, table: OptionOperators
) -> list[OperatorCounts]:
    """Expected runs of the operators of each option: the option's weight.

    Raises:
        ArchitectureError: A choice is unknown, or its table has another shape.
    """
    found = []
    for name, rows in table.items():
        if name not in choices:
            raise ArchitectureError(
                f"option_operators()[{name!r}]: there is no such choice, only {sorted(choices)}"
            )
        choice = choices[name]
        decisions, options = choice.theta.shape
        lengths = [len(row) for row in rows]
        if len(rows) != decisions or any(length != options for length in lengths):
            raise ArchitectureError(
                f"option_operators()[{name!r}] has {len(rows)} rows of {sorted(set(lengths))} "
                f"options, but the choice has {(decisions, options)} (decisions, options)"
            )
        places: list[int] = []
        operators: list[Operator] = []
        for d, row in enumerate(rows):
            for k, runs in enumerate(row):
                present = choice.options[d][k] is not None
                operators += runs if present else []
                places += [d * options + k] * (len(runs) if present else 0)
        found.append(OperatorCounts(tuple(operators), sample[choice].flatten(1)[:, places]))
    return found


def fixed_counts(operators: Sequence[Operator], reference: Tensor) -> OperatorCounts:
    """Operators that every architecture runs once."""
    return OperatorCounts(tuple(operators), reference.new_ones(1, len(operators)))
