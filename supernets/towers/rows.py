"""Which sample an item has."""

from __future__ import annotations

from torch import Tensor


def weights_of_items(weights: Tensor, items: int) -> Tensor:
    """The weights of the items' decisions where rows have samples of their own.

    Item i has the sample of user i. A corpus to be ranked has another number of items than there
    are users; all of them get the mean of the samples.

    Args:
        weights: ``(B, ...)`` for the rows of a batch, or ``(1, ...)`` for all of them.
        items: N.

    Returns:
        ``(N, ...)`` or ``(1, ...)``.
    """
    return weights if len(weights) in (1, items) else weights.mean(0, keepdim=True)
