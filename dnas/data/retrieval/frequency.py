"""Streaming estimate of how often an item is in a batch.

Yi et al., "Sampling-bias-corrected neural modeling for large corpus item recommendations" (RecSys
2019), algorithm 2, with the arrays as large as the number of items (no hashing). With t the step,
``A`` an item's latest step and ``B`` the estimate of the steps between two occurrences, each
occurrence of an item does

    B <- (1 - alpha) * B + alpha * (t - A),     A <- t,     p = 1 / B.

Implemented as released with AutoTower: row by row. The second occurrence of an item in a batch sees
``t - A = 0``, so B goes on shrinking, and p estimates the expected number of *occurrences* in a
batch, which may exceed 1. (Updating once for each different item would estimate the probability of
being in the batch at all, which saturates at 1.) With ``B'`` the value after the first occurrence
in a batch, the m-th one (m = 0, 1, ..) has ``(1 - alpha)^m B'``: all rows are computed at once.
"""

from __future__ import annotations

import numpy as np

from dnas.errors import DataError


class StreamingFrequency:
    """The estimate for all items; a function of the batches it has seen.

    Args:
        num_items: Items are numbered from 1 to this.
        start: First value of every B, in steps. Released: ``(num_items + 1) // batch size``.
        alpha: Learning rate of B.

    Raises:
        DataError: ``start`` is not positive, or ``alpha`` not between 0 and 1.
    """

    def __init__(self, num_items: int, start: float, alpha: float = 0.01) -> None:
        if not start > 0:
            raise DataError(f"start={start}: the first number of steps must be positive")
        if not 0 < alpha < 1:
            raise DataError(f"alpha={alpha}: must be between 0 and 1")
        self.alpha = alpha
        self._latest = np.zeros(num_items + 1)
        self._between = np.full(num_items + 1, float(start))

    def update(self, items: np.ndarray, step: int) -> np.ndarray:
        """Take a batch in.

        Args:
            items: ``(B,)`` item ids, in the order of the rows.
            step: t; the first batch's is 1, as latest steps are 0 at first.

        Returns:
            ``(B,)`` float64: p of each row, right after that row was taken in.
        """
        order = np.argsort(items, kind="stable")
        ranked = items[order]
        is_first = np.ones(len(items), dtype=bool)
        is_first[1:] = ranked[1:] != ranked[:-1]
        first = np.flatnonzero(is_first)
        lengths = np.diff(first, append=len(items))
        which = ranked[first]
        between = (1 - self.alpha) * self._between[which]
        between += self.alpha * (step - self._latest[which])
        nth = np.arange(len(items)) - np.repeat(first, lengths)  # m of each row
        powers = (1 - self.alpha) ** np.arange(lengths.max())
        each = np.repeat(between, lengths) * powers[nth]
        self._between[which] = each[first + lengths - 1]
        self._latest[which] = step
        estimates = np.empty(len(items))
        estimates[order] = 1.0 / each
        return estimates
