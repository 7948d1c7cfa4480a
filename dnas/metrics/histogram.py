"""AUC of more rows than fit in memory: two histograms of the logits, one for each class.

The bins are fixed before the first row is seen: equal steps of ``s(z) = z / (SCALE + |z|)``, which
maps all of the real line to (-1, 1). With 2^16 bins and SCALE = 4 a bin is 1.2e-4 wide at logit 0
and 1.1e-3 at +-8, so that rare clicks (p = 3e-4) are told apart as well as even odds; logits of
1e4 still have their place.

Counting a pair that shares a bin as one half, whatever its true order, the AUC is wrong by at most

    E = 1/2 * sum over bins b of P_b N_b / (P N)

(P_b clicks and N_b others in bin b), which is what :func:`auc_from_histogram` returns beside it.
"""

from __future__ import annotations

import torch
from torch import Tensor

SCALE = 4.0


def bin_edges(bins: int, device: torch.device | str = "cpu") -> Tensor:
    """The ``bins - 1`` inner edges, float64, rising: ``s^-1`` of equal steps in (-1, 1)."""
    s = torch.arange(1, bins, dtype=torch.float64, device=device) * (2.0 / bins) - 1.0
    return SCALE * s / (1.0 - s.abs())  # (bins - 1,)


def add_to_histogram(counts: Tensor, edges: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Count more rows, without waiting for the device.

    Args:
        counts: ``(2, bins)`` int64; row 0 counts labels 0, row 1 labels 1.
        edges: What :func:`bin_edges` gave, ``(bins - 1,)``.
        logits: ``(n,)``, finite.
        labels: ``(n,)`` bool.

    Returns:
        The new counts, ``(2, bins)``.
    """
    bins = counts.shape[1]
    # A search among edges keeps the order of logits exactly, which the rounding of s(z) may not.
    place = torch.bucketize(logits.to(edges.dtype), edges)  # (n,)
    place = place + labels.to(place.dtype) * bins
    # Integer index_add has one result in any order, and unlike bincount needs no host round trip.
    return counts.view(-1).index_add(0, place, torch.ones_like(place)).view(2, bins)


def auc_from_histogram(counts: Tensor) -> tuple[float, float] | None:
    """AUC and the most it can be wrong by, from ``(2, bins)`` counts; None if a class is absent."""
    others, clicks = counts[0].double(), counts[1].double()  # (bins,) each
    pairs = float(others.sum()) * float(clicks.sum())
    if pairs == 0.0:
        return None
    below = others.cumsum(0) - others  # (bins,) rows without click in lower bins
    tied = 0.5 * float((clicks * others).sum()) / pairs
    return float((clicks * below).sum()) / pairs + tied, tied
