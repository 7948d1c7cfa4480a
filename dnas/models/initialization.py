"""Initialisation of DLRM layers (arXiv:1906.00091 and its code), from torch's generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def init_linear_(weight: Tensor, bias: Tensor | None) -> None:
    """``W ~ N(0, 2 / (in + out))`` and ``b ~ N(0, 1 / out)``, variances, in place.

    Args:
        weight: ``(out, in)``, may be a view into a larger matrix.
        bias: ``(out,)``, None for a layer without.
    """
    out_features, in_features = weight.shape
    with torch.no_grad():
        weight.normal_(0.0, math.sqrt(2.0 / (in_features + out_features)))
        if bias is not None:
            bias.normal_(0.0, math.sqrt(1.0 / out_features))


def init_table_(table: Tensor) -> None:
    """``U(-sqrt(1 / n), sqrt(1 / n))`` with n the rows of this table, in place."""
    bound = math.sqrt(1.0 / table.shape[0])
    with torch.no_grad():
        table.uniform_(-bound, bound)
