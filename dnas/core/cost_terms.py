"""Costs and operators that add up over decisions: weighted sums of what each option costs or runs.

Letters as in :mod:`dnas.core.sampling`: B rows, D decisions of a choice, K options of a decision.
"""

from __future__ import annotations

import math
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
        where = f"option_costs()[{cost!r}][{choice.name!r}]"
        shape = tuple(choice.theta.shape)
        try:
            said = tuple(map(tuple, table))
        except TypeError:
            raise ArchitectureError(
                f"{where} is {table!r}; give a table of {shape} (decisions, options): a row of "
                "costs for each decision"
            ) from None
        kept = self._kept.get((cost, choice.name))
        if kept is not None and kept[0] == said and kept[1].device == choice.theta.device:
            return kept[1]
        lengths = sorted({len(row) for row in said})
        if len(said) != shape[0] or lengths != [shape[1]]:
            found = (len(said), *lengths) if len(lengths) == 1 else f"rows of {lengths} options"
            raise ArchitectureError(
                f"{where} has shape {found}, but the choice has {shape} (decisions, options): "
                f"{choice.decisions[:3]}... by {choice.columns}"
            )
        try:
            numbers = torch.tensor(said, dtype=torch.float64, device=choice.theta.device)
        except (TypeError, ValueError) as error:
            raise ArchitectureError(f"{where} must be a table of numbers: {error}") from None
        numbers = numbers.masked_fill(~choice.valid, 0.0)
        wrong = ~(numbers.isfinite() & (numbers >= 0))
        if wrong.any():
            d, k = wrong.nonzero()[0].tolist()
            value = float(numbers[d, k])
            raise ArchitectureError(
                f"{where}[{d}][{k}], the cost of {choice.keys[d]} = {choice.options[d][k]!r}: the "
                f"cost is {'NaN' if math.isnan(value) else value}; give a finite number of 0 or "
                "more"
            )
        self._kept[cost, choice.name] = said, numbers
        return numbers


def known_choice(choices: Mapping[str, Choice], name: str, where: str) -> Choice:
    """The choice called ``name``, which is a key of ``where``.

    Raises:
        ArchitectureError: There is none.
    """
    if name not in choices:
        raise ArchitectureError(
            f"{where} is about {name!r}: there is no such choice, only {sorted(choices)}; give the "
            "name of a Choice that is an attribute of the supernet or in an nn.ModuleList"
        )
    return choices[name]


class OperatorTables:
    """The operators of ``option_operators`` in a row, and their places among a choice's options.

    Kept while they say the same, as :class:`CostTables` are.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, tuple[Operator, ...], Tensor]] = {}

    def counts(
        self, choices: Mapping[str, Choice], sample: Sample, table: OptionOperators
    ) -> list[OperatorCounts]:
        """Expected runs of the operators of each option: the option's weight.

        Raises:
            ArchitectureError: A choice is unknown, or its table has another shape.
        """
        found = []
        for name, rows in table.items():
            choice = known_choice(choices, name, "option_operators()")
            operators, places = self._table(choice, rows)
            found.append(OperatorCounts(operators, sample[choice].flatten(1)[:, places]))
        return found

    def _table(
        self, choice: Choice, rows: Sequence[Sequence[Sequence[Operator]]]
    ) -> tuple[tuple[Operator, ...], Tensor]:
        _check_nesting(choice.name, rows)
        said = tuple(tuple(map(tuple, row)) for row in rows)
        kept, device = self._kept.get(choice.name), choice.theta.device
        if kept is not None and kept[0] == said and kept[2].device == device:
            return kept[1], kept[2]
        decisions, options = choice.theta.shape
        lengths = [len(row) for row in said]
        if len(said) != decisions or any(length != options for length in lengths):
            raise ArchitectureError(
                f"option_operators()[{choice.name!r}] has {len(said)} rows of "
                f"{sorted(set(lengths))} options, but the choice has {(decisions, options)} "
                "(decisions, options)"
            )
        places: list[int] = []
        operators: list[Operator] = []
        for d, row in enumerate(said):
            for k, runs in enumerate(row):
                present = choice.options[d][k] is not None
                operators += runs if present else ()
                places += [d * options + k] * (len(runs) if present else 0)
        made = tuple(operators), torch.tensor(places, dtype=torch.int64, device=device)
        self._kept[choice.name] = said, *made
        return made


def _check_nesting(name: str, rows: Sequence[Any]) -> None:
    """Refuse operators that stand where a row, or the tuple of what an option runs, belongs."""
    where = f"option_operators()[{name!r}]"
    for d, row in enumerate(rows):
        if isinstance(row, Operator):
            raise ArchitectureError(
                f"{where}[{d}] is {row}; give a table (decisions, options): for each decision a "
                f"row with the operators of each option, as in [[({row},), ()]]"
            )
        for k, runs in enumerate(row):
            if not isinstance(runs, list | tuple) or not all(isinstance(o, Operator) for o in runs):
                raise ArchitectureError(
                    f"{where}[{d}][{k}] is {runs}; give a tuple of the operators that the option "
                    f"runs, as in ({runs},)"
                    if isinstance(runs, Operator)
                    else f"{where}[{d}][{k}] is {runs!r}; give a tuple of the operators that the "
                    "option runs, () where it runs none"
                )


def fixed_counts(operators: Sequence[Operator], reference: Tensor) -> OperatorCounts:
    """Operators that every architecture runs once."""
    return OperatorCounts(tuple(operators), reference.new_ones(1, len(operators)))
