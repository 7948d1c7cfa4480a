"""Counting on real modules: the check on every formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def _attention_flops(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *args: Any, **kwargs: Any
) -> int:
    """Both products of an attention: ``2 B h N M d + 2 B h N M d_v``."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


#: Operators with products that the counter does not know. On GPUs it knows those of attention.
_MISSING = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


def count_params(module: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(parameter.numel() for parameter in module.parameters())


def count_flops(module: Callable[..., Any], inputs: tuple[Any, ...], rows: int) -> float:
    """FLOPs (2 x MACs) of one forward pass per row, by ``torch.utils.flop_counter``.

    Element-wise operations, normalisations and embedding look-ups count 0 there and in
    ``dnas.costs.formulas``. Counted with gradients on: in inference mode
    ``nn.MultiheadAttention`` takes a fused path that the counter does not see.

    Args:
        module: Any module.
        inputs: Positional arguments of its ``forward``.
        rows: Number of rows in ``inputs``.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_MISSING)
    with torch.enable_grad(), counter:
        module(*inputs)
    return counter.get_total_flops() / rows
