"""Counting on real modules: the check on every formula."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def count_params(module: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(module: nn.Module, inputs: tuple[Any, ...], rows: int) -> float:
    """FLOPs (2 x MACs) of one forward pass per row, by ``torch.utils.flop_counter``.

    Element-wise operations, normalisations and embedding look-ups count 0 there and in
    ``dnas.costs.formulas``. Counted with gradients on: in inference mode
    ``nn.MultiheadAttention`` takes a fused path that the counter does not see.

    Args:
        module: Any module.
        inputs: Positional arguments of its ``forward``.
        rows: Number of rows in ``inputs``.
    """
    counter = FlopCounterMode(display=False)
    with torch.enable_grad(), counter:
        module(*inputs)
    return counter.get_total_flops() / rows
