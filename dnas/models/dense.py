"""A fully connected layer with ReLU as one function, which keeps one tensor instead of two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def autocast_to(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in the dtype of ``torch.autocast`` where it is on, unchanged elsewhere.

    Functions with a backward pass of their own are not reached by autocast, which casts the
    arguments of single operators.
    """
    kind = tensors[0].device.type
    # Autocast does not know the device of shapes without numbers.
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return list(tensors)
    dtype = torch.get_autocast_dtype(kind)
    return [tensor.to(dtype) for tensor in tensors]


def linear_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``relu(x W^T + b)``.

    Args:
        x: ``(B, in)``.
        weight: ``(out, in)``.
        bias: ``(out,)``.

    Returns:
        ``(B, out)``.
    """
    if not torch.is_grad_enabled():
        return torch.relu(torch.nn.functional.linear(x, weight, bias))
    out: Tensor = _LinearReLU.apply(*autocast_to([x, weight, bias]))
    return out


class _LinearReLU(torch.autograd.Function):
    """The product is rectified in place; its sign is all that the backward pass needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        out = torch.addmm(bias, x, weight.transpose(0, 1)).relu_()
        ctx.save_for_backward(x, weight, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, out = ctx.saved_tensors
        need_x, need_weight, need_bias = ctx.needs_input_grad
        dz = torch.ops.aten.threshold_backward(gradients[0], out, 0)
        return (
            dz @ weight if need_x else None,
            dz.transpose(0, 1) @ x if need_weight else None,
            dz.sum(0) if need_bias else None,
        )
