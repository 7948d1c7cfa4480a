"""Initialisation of DLRM layers (arXiv:1906.00091 and its code), from torch's generator."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init


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


def make_linear(in_features: int, out_features: int, *, bias: bool = True) -> nn.Linear:
    """A layer initialised by ``init_linear_`` and by nothing else, on the CPU.

    On the CPU also where torch's default device is another, as ``skip_init`` has it. Width 0 of the
    input is allowed: a click log may have no numeric features.
    """
    layer = skip_init(nn.Linear, in_features, out_features, bias=bias)
    assert isinstance(layer, nn.Linear)
    init_linear_(layer.weight, layer.bias if bias else None)
    return layer


def init_table_(table: Tensor) -> None:
    """``U(-sqrt(1 / n), sqrt(1 / n))`` with n the rows of this table, in place."""
    bound = math.sqrt(1.0 / table.shape[0])
    with torch.no_grad():
        table.uniform_(-bound, bound)
