"""Which points no other point beats, as a pure function."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pareto_front(losses: ArrayLike, costs: ArrayLike) -> NDArray[np.bool_]:
    """Mark the points of the non-dominated front; both coordinates are to be small.

    A point is dominated when another one is no worse in both and better in at least one. Equal
    points do not dominate each other, so all copies of a front point are on the front. A point
    with a NaN or infinite coordinate is never on it and dominates nothing. The marks follow their
    points under any reordering.

    Args:
        losses: Shape ``(n,)``; of a metric to be large, its negative.
        costs: Shape ``(n,)``.

    Returns:
        Shape ``(n,)``, True for the points of the front.

    Raises:
        ValueError: The two shapes differ or are not one-dimensional.
    """
    a = np.asarray(losses, dtype=np.float64)
    b = np.asarray(costs, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"two (n,) arrays are expected, got {a.shape=} and {b.shape=}")
    front = np.zeros(a.shape, dtype=bool)
    usable = np.flatnonzero(np.isfinite(a) & np.isfinite(b))
    order = usable[np.lexsort((b[usable], a[usable]))]  # by loss, then by cost
    lowest_cost, loss_there = np.inf, np.nan
    for i in order:
        # A point enters if it is cheaper than all with smaller loss, or a copy of the last that is.
        if b[i] < lowest_cost or (b[i] == lowest_cost and a[i] == loss_there):
            front[i] = True
            lowest_cost, loss_there = b[i], a[i]
    return front
