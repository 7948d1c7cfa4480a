"""Numbers to bins of equal counts."""

from __future__ import annotations

import numpy as np


def quantile_bins(values: np.ndarray, bins: int) -> tuple[np.ndarray, int]:
    """The bin of each value, as ``pandas.qcut(values, bins, labels=False, duplicates="drop")``.

    Borders are the linearly interpolated quantiles k / bins; equal borders are merged, so that
    there may be fewer bins. A bin has its upper border, the first one its lower border too.

    Args:
        values: ``(n,)`` finite numbers.
        bins: Most bins.

    Returns:
        ``(n,)`` int32 from 0, and the number of bins.
    """
    borders = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    inner = borders[1:-1]
    return np.searchsorted(inner, values, side="left").astype(np.int32), len(inner) + 1
