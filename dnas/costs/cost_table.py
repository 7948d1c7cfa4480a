"""CostTable: measured times of operators, as a file, and prices from it.

One table is of one machine, one device, one batch size and one set of versions; what was measured
under other conditions is in another file. An operator that is not in the table has the price that
:mod:`dnas.costs.interpolation` gives, if its kind allows it and its sizes lie inside of what was
measured, or none: there is no default, and 0 least of all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dnas.core import Operator
from dnas.costs.conditions import Conditions
from dnas.costs.interpolation import LEAST_POINTS, Law, fit_law
from dnas.costs.kinds import completed, find_kind
from dnas.costs.measuring import Measurement, Turn
from dnas.costs.work import count_work
from dnas.errors import CostError, DnasError
from dnas.files import read_json, write_json

FORMAT = "dnas.cost_table/1"
UNIT = "us"
#: Range of the middle half of a normal distribution, in standard deviations.
_IQR = 1.349


@dataclass(frozen=True)
class Price:
    """What an operator, or several, take.

    Attributes:
        us: Microseconds.
        error_us: About one standard deviation.
        measured: Whether it was measured; else it is interpolated, at least in part.
    """

    us: float
    error_us: float
    measured: bool


class CostTable:
    """Measured times by operator.

    Args:
        conditions: Under which all of them were measured.
        entries: Operator -> measurement.
        date: Of the latest measurement, ISO 8601.
        check: What whole models took against the sum of their operators, if that was measured.
        rounds: That were last asked for; 0 if that is not known.
        source: File name for errors.
    """

    def __init__(
        self,
        conditions: Conditions,
        entries: Mapping[Operator, Measurement] | None = None,
        *,
        date: str = "",
        check: Mapping[str, Any] | None = None,
        rounds: int = 0,
        source: str = "the cost table",
    ) -> None:
        self.conditions = conditions
        self.date = date
        self.check = check
        self.rounds = rounds
        self.source = source
        self._entries = {completed(operator): found for operator, found in (entries or {}).items()}
        self._prices: dict[Operator, Price] = {}
        self._laws: dict[tuple[str, tuple[Any, ...]], Law | None] = {}

    # ---------------------------------------------------------------- what is in it

    @property
    def entries(self) -> Mapping[Operator, Measurement]:
        """Operator, with its kind's defaults, -> measurement."""
        return self._entries

    def add(self, operator: Operator, measurement: Measurement) -> None:
        """Enter a measurement, in place of an earlier one of the same operator.

        One of more rounds than the new one stays.
        """
        known = self._entries.get(completed(operator))
        if known is not None and known.rounds > measurement.rounds:
            return
        self._entries[completed(operator)] = measurement
        self._laws.clear()
        self._prices.clear()

    def missing(self, operators: Sequence[Operator], rounds: int = 1) -> list[Operator]:
        """Those of ``operators`` that were measured in fewer rounds or not at all, each once."""
        return [
            operator
            for operator in dict.fromkeys(map(completed, operators))
            if operator not in self._entries or self._entries[operator].rounds < rounds
        ]

    def turns_kept(self, operator: Operator) -> tuple[Turn, ...]:
        """The turns that ``operator`` had, to which more can be added; none if it is not there."""
        found = self._entries.get(completed(operator))
        return found.turns if found else ()

    def doubts(self) -> list[str]:
        """What was left unfinished when it was measured, to read; empty if nothing was."""
        found = []
        if few := self.missing(list(self._entries), self.rounds):
            found.append(
                f"{len(few)} of {len(self._entries)} operators have fewer than the {self.rounds} "
                f"rounds that were asked for, {few[0]} has {self._entries[few[0]].rounds}"
            )
        if self.check is None:
            found.append("no whole models were measured beside them (--check)")
        return found

    # ---------------------------------------------------------------- prices

    def price(self, operator: Operator) -> Price:
        """What one run of ``operator`` takes.

        Raises:
            CostError: It was not measured, and cannot be interpolated.
        """
        known = self._prices.get(operator)
        if known is None:
            known = self._prices[operator] = self._price(completed(operator))
        return known

    def _price(self, operator: Operator) -> Price:
        found = self._entries.get(operator)
        if found is not None:
            return Price(found.median_us, found.spread_us / _IQR, True)
        law, points = self._law(operator)
        if law is None:
            raise self._unknown(
                operator,
                f"{len(points)} measured ones with the same {self._same(operator)} are "
                f"too few to interpolate, which takes {LEAST_POINTS} or more",
            )
        return self._interpolated(operator, law, points)

    def total(self, counts: Mapping[Operator, float]) -> Price:
        """What several runs take: the sum of the prices.

        Errors of different operators are taken to be independent, those of several runs of one to
        be the same error.

        Raises:
            CostError: As ``price``; operators that are run 0 times need no price.
        """
        prices = [(self.price(operator), n) for operator, n in counts.items() if n]
        return Price(
            us=sum(price.us * n for price, n in prices),
            error_us=math.sqrt(sum((price.error_us * n) ** 2 for price, n in prices)),
            measured=all(price.measured for price, _ in prices),
        )

    def law(self, operator: Operator) -> Law | None:
        """How times are interpolated for ``operator``'s kind; None if they are not."""
        return self._law(completed(operator))[0]

    def _law(self, operator: Operator) -> tuple[Law | None, list[Operator]]:
        """The law of the operators that differ in interpolated sizes only, and these operators."""
        try:
            names = find_kind(operator).interpolated
        except CostError as error:
            raise self._unknown(operator, str(error)) from None
        if not names:
            raise self._unknown(operator, f"operators of kind {operator.kind} are not interpolated")
        exact = _without(operator, names)
        points = [
            o
            for o in self._entries
            if o.kind == operator.kind
            and _without(o, names) == exact
            and all(o.size(name) > 0 for name in names)
        ]
        key = (operator.kind, exact)
        if key not in self._laws:
            self._laws[key] = self._fit(points, names)
        return self._laws[key], points

    def _fit(self, points: Sequence[Operator], names: Sequence[str]) -> Law | None:
        if len(points) < LEAST_POINTS:
            return None
        sizes = np.array([[float(o.size(name)) for name in names] for o in points])
        times = np.array([self._entries[o].median_us for o in points])
        work = [count_work(o, self.conditions.rows) for o in points]
        counted = None if any(w is None for w in work) else np.array(work, dtype=np.float64)
        return fit_law(sizes, counted, times)

    def _interpolated(self, operator: Operator, law: Law, points: Sequence[Operator]) -> Price:
        names = find_kind(operator).interpolated
        for name in names:
            measured = [o.size(name) for o in points]
            if not min(measured) <= operator.size(name) <= max(measured):
                raise self._unknown(
                    operator,
                    f"{name} {operator.size(name)} is outside of {min(measured)}..{max(measured)}, "
                    "the range that was measured",
                )
        work = count_work(operator, self.conditions.rows) if law.name == "work" else None
        us = law([float(operator.size(name)) for name in names], work)
        return Price(us, us * law.error, False)

    def _same(self, operator: Operator) -> str:
        exact = _without(operator, find_kind(operator).interpolated)
        return ", ".join(f"{name}={value}" for name, value in exact) or "kind"

    def _unknown(self, operator: Operator, why: str) -> CostError:
        return CostError(
            f"{operator} was not measured in {self.source}: {why}. Measure it: dnas profile SPACE "
            f"[flags of the space and its data] {self.conditions.flags()} --output {self.source}"
        )

    # ---------------------------------------------------------------- the file

    def save(self, path: str | Path) -> None:
        """Write the table, or leave what is there."""
        write_json(path, self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "unit": UNIT,
            "conditions": self.conditions.to_json(),
            "date": self.date,
            "rounds": self.rounds,
            "entries": [
                {
                    "kind": operator.kind,
                    "sizes": dict(operator.sizes),
                    "median": found.median_us,
                    "spread": found.spread_us,
                    "repeats": found.repeats,
                    "rounds": found.rounds,
                    **_turns_json(found.turns),
                }
                for operator, found in sorted(self._entries.items())
            ],
            "check": None if self.check is None else dict(self.check),
        }

    @classmethod
    def load(cls, path: str | Path) -> CostTable:
        """Read a table.

        Raises:
            CostError: There is none, it is damaged, or a value in it is wrong; the message names
                file, field and value.
        """
        try:
            value = read_json(path)
        except DnasError as error:
            raise CostError(str(error)) from None
        return cls.from_json(value, str(path))

    @classmethod
    def from_json(cls, value: Any, source: str) -> CostTable:
        """What ``to_json`` gave.

        Raises:
            CostError: As ``load``.
        """
        if not isinstance(value, Mapping) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, Mapping) else type(value).__name__
            raise CostError(f"{source}: format: {found!r}, but this reads {FORMAT!r}")
        if value.get("unit") != UNIT:
            raise CostError(f"{source}: unit: {value.get('unit')!r}, but this reads {UNIT!r}")
        rows = value.get("entries")
        if not isinstance(rows, list):
            raise CostError(f"{source}: entries: expected a list, but got {type(rows).__name__}")
        entries: dict[Operator, Measurement] = {}
        for number, row in enumerate(rows):
            place = f"{source}: entries[{number}]"
            operator = _operator(row, place)
            if operator in entries:
                raise CostError(f"{place}: {operator} stands there twice; remove one of the two")
            entries[operator] = _measurement(row, place)
        rounds = value.get("rounds", 0)
        if not _is_number(rounds) or not isinstance(rounds, int) or rounds < 0:
            raise CostError(f"{source}: rounds: {rounds!r} is not a whole number of 0 or more")
        check = value.get("check")
        if check is not None and not isinstance(check, Mapping):
            raise CostError(f"{source}: check: expected an object or null, but got {check!r}")
        return cls(
            Conditions.from_json(value.get("conditions"), source),
            entries,
            date=str(value.get("date", "")),
            check=check,
            rounds=rounds,
            source=source,
        )


def open_table(path: str | Path, conditions: Conditions, *, remeasure: bool = False) -> CostTable:
    """The table to measure into: that in the file, or an empty one.

    Args:
        path: The file; need not exist.
        conditions: Under which it is about to be measured.
        remeasure: Begin anew, whatever is there.

    Raises:
        CostError: The file is of other conditions, or damaged.
    """
    if remeasure or not Path(path).exists():
        return CostTable(conditions, source=str(path))
    table = CostTable.load(path)
    other = table.conditions.differences(conditions)
    if other:
        raise CostError(
            f"--output {path}: measured under other conditions: {'; '.join(other)}. Name another "
            "file, or give --remeasure to measure everything in it anew"
        )
    return table


def _without(operator: Operator, names: Sequence[str]) -> tuple[Any, ...]:
    """The sizes that must match exactly."""
    return tuple((name, value) for name, value in operator.sizes if name not in names)


def _operator(row: Any, place: str) -> Operator:
    if not isinstance(row, Mapping):
        raise CostError(f"{place}: expected an object, but got {row!r}")
    kind, sizes = row.get("kind"), row.get("sizes")
    if not isinstance(kind, str) or not kind:
        raise CostError(f"{place}.kind: {kind!r} is not a name")
    if not isinstance(sizes, Mapping):
        raise CostError(f"{place}.sizes: expected an object, but got {sizes!r}")
    for name, size in sizes.items():
        if not _is_number(size):
            raise CostError(f"{place}.sizes.{name}: {size!r} is not a number")
    try:
        return completed(Operator.of(kind, **sizes))
    except CostError as error:
        raise CostError(f"{place}.sizes: {error}") from None


def _measurement(row: Mapping[str, Any], place: str) -> Measurement:
    for name, least in (("median", 0.0), ("spread", 0.0), ("repeats", 1), ("rounds", 1)):
        found: Any = row.get(name)
        whole = isinstance(least, int)
        if not _is_number(found) or found < least or (whole and not isinstance(found, int)):
            raise CostError(
                f"{place}.{name}: {found!r} is not a {'whole ' if whole else ''}number of "
                f"{least:g} or more"
            )
    if row["median"] == 0:
        raise CostError(f"{place}.median: 0 us: no operator is free")
    turns = _turns(row, place)
    return Measurement(
        float(row["median"]), float(row["spread"]), row["repeats"], row["rounds"], turns
    )


def _turns_json(turns: Sequence[Turn]) -> dict[str, Any]:
    """``turns`` of an entry: median, spread and calls of each; nothing where none were kept."""
    return {"turns": [[t.median_us, t.spread_us, t.calls] for t in turns]} if turns else {}


def _turns(row: Mapping[str, Any], place: str) -> tuple[Turn, ...]:
    found = row.get("turns", [])
    if not isinstance(found, list) or (found and len(found) != row["rounds"]):
        raise CostError(f"{place}.turns: expected a list of {row['rounds']} (rounds)")
    for number, turn in enumerate(found):
        fine = isinstance(turn, list) and len(turn) == 3 and all(map(_is_number, turn))
        if not fine or turn[0] <= 0 or turn[1] < 0 or turn[2] < 1 or not isinstance(turn[2], int):
            raise CostError(
                f"{place}.turns[{number}]: {turn!r} is not [median, spread, calls], the median "
                "positive"
            )
    return tuple(Turn(float(median), float(spread), calls) for median, spread, calls in found)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
