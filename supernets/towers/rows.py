"""Which sample an item has."""

from __future__ import annotations

from torch import Tensor


def weights_of_items(weights: Tensor, items: int) -> Tensor:
    """The weights of the items' decisions where rows have samples of their own.

    In a loss batch item i is of row i, and has the sample of user i. A corpus to be ranked is of no
    row: its items get the mean of the samples. The two are told apart by the number of items alone,
    so that a corpus of as many items as there are users, ranked under samples of its users, is
    taken for a loss batch, item i getting the sample of user i. Nothing in this library does that:
    training has loss batches only, candidates are ranked under one architecture, and a supernet is
    validated under one sample for a whole batch (see
    :func:`dnas.strategies.supernet_validation.validate_supernet`). Whoever ranks under soft samples
    should do the same.

    Args:
        weights: ``(B, ...)`` for the rows of a batch, or ``(1, ...)`` for all of them.
        items: N.

    Returns:
        ``(N, ...)`` or ``(1, ...)``.
    """
    return weights if len(weights) in (1, items) else weights.mean(0, keepdim=True)
