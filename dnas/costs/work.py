"""The work in an operator: FLOPs and bytes moved, counted on its module without running it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Operator
from dnas.costs.counting import count_flops
from dnas.costs.kinds import find_kind


def count_work(operator: Operator, rows: int) -> tuple[float, float] | None:
    """FLOPs and bytes of one operator on a batch.

    Bytes are those of the inputs, the outputs and the parameters, each once. Tables (parameters of
    a module with an attribute ``sparse``) do not count: what is looked up is in the outputs. The
    module is made and run on torch's ``meta`` device, where tensors have shapes and no storage.

    Args:
        operator: With all its sizes.
        rows: Rows of the batch.

    Returns:
        FLOPs, bytes; None where the module cannot run on the ``meta`` device.
    """
    kind, sizes = find_kind(operator), dict(operator.sizes)
    inputs = _meta(kind.inputs(rows, torch.Generator().manual_seed(1), **sizes))
    outputs: list[Any] = []
    try:
        with torch.device("meta"):
            module = kind.make(**sizes).to("meta").eval()
        flops = count_flops(lambda *given: outputs.append(module(*given)), inputs, 1)
    except (NotImplementedError, RuntimeError):
        return None
    moved = _bytes(inputs) + _bytes(outputs) + _parameter_bytes(module)
    return flops / kind.per_call, moved / kind.per_call


def _meta(value: Any) -> Any:
    """Tensors in nested tuples, without their storage."""
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, tuple):
        parts = [_meta(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    return sum(map(_bytes, value)) if isinstance(value, list | tuple) else 0


def _parameter_bytes(module: nn.Module) -> int:
    return sum(
        _bytes(parameter)
        for part in module.modules()
        if not hasattr(part, "sparse")
        for parameter in part.parameters(recurse=False)
    )
