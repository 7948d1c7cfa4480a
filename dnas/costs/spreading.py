"""Which operators to measure where there are too many: a subset that interpolation can fill."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dnas.core import Operator
from dnas.costs.interpolation import LEAST_POINTS
from dnas.costs.kinds import completed, find_kind
from dnas.errors import CostError


def spread_out(operators: Sequence[Operator], most: int) -> list[Operator]:
    """At most ``most`` operators between which all others can be interpolated.

    What cannot be interpolated is all taken. Of the operators that differ in interpolated sizes
    only, those with the smallest and the largest of each size are taken, then again and again the
    one that is farthest (in logarithms of the sizes) from all taken; such families share what
    ``most`` leaves in proportion to their numbers.

    Args:
        operators: Equal ones count once.
        most: At least 1.

    Raises:
        CostError: More than ``most`` are needed; the message says how many.
    """
    distinct = list(dict.fromkeys(map(completed, operators)))
    if len(distinct) <= most:
        return distinct
    families: dict[tuple[object, ...], list[Operator]] = {}
    for operator in distinct:
        names = find_kind(operator).interpolated
        exact = tuple(size for size in operator.sizes if size[0] not in names)
        families.setdefault((operator.kind, exact), []).append(operator)
    orders = [_order(family) for family in families.values()]
    least = sum(needed for _, needed in orders)
    if least > most:
        raise CostError(
            f"--max_operators {most}: {len(distinct)} operators are so different that {least} of "
            "them must be measured; give that or more, or 0 for all"
        )
    free = (most - least) / max(len(distinct) - least, 1)
    taken = {
        operator
        for order, needed in orders
        for operator in order[: needed + int(free * (len(order) - needed))]
    }
    return [operator for operator in distinct if operator in taken]


def _order(family: Sequence[Operator]) -> tuple[list[Operator], int]:
    """The family, those to be taken first in front, and how many of them must be taken."""
    names = find_kind(family[0]).interpolated
    if not names or len(family) <= LEAST_POINTS:
        return list(family), len(family)
    sizes = [[float(operator.size(name)) for name in names] for operator in family]
    logs = np.log(np.maximum(sizes, 0.5))  # a width may be 0
    first = [
        int(pick(logs[:, axis])) for axis in range(len(names)) for pick in (np.argmin, np.argmax)
    ]
    # The two ends of the diagonal: the smallest and the largest operator.
    first += [int(np.argmin(logs.sum(axis=1))), int(np.argmax(logs.sum(axis=1)))]
    order = list(dict.fromkeys(first))
    corners = len(order)
    distance = np.linalg.norm(logs[:, None] - logs[None, order], axis=2).min(axis=1)
    while len(order) < len(family):
        distance[order] = -1.0
        farthest = int(np.argmax(distance))
        order.append(farthest)
        distance = np.minimum(distance, np.linalg.norm(logs - logs[farthest], axis=1))
    # A quadratic law has 1 + d + d (d + 1) / 2 numbers; enough for it to be tried.
    wanted = 3 + len(names) * (len(names) + 3) // 2
    return [family[i] for i in order], min(len(family), max(corners, LEAST_POINTS, wanted))
