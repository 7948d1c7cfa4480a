"""Gradient clipping that accepts sparse gradients.

``torch.nn.utils.clip_grad_norm_`` refuses sparse gradients since torch 2.0.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dnas.errors import ConfigError
from dnas.models.look_up import coalesce_gradient


def clip_grad_norm(parameters: Iterable[torch.nn.Parameter], max_norm: float) -> Tensor:
    """Scale all gradients so that their joint L2 norm is at most ``max_norm``.

    Sparse gradients are coalesced first, because a row that occurs twice in a batch has the *sum*
    of its entries as gradient; they stay coalesced, which spares the optimizer that work. Nothing
    is read back to the host.

    Returns:
        The norm before clipping, a scalar tensor.

    Raises:
        ConfigError: ``max_norm`` is not positive: it would turn the gradients round.
    """
    if not max_norm > 0:
        raise ConfigError(f"clip_grad_norm_value must be positive, but got {max_norm}")
    values: list[Tensor] = []
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            continue
        values.append(coalesce_gradient(parameter)._values() if gradient.is_sparse else gradient)
    if not values:
        return torch.zeros(())
    norms = [norm.view(1) for norm in torch._foreach_norm(values)]
    norm = torch.linalg.vector_norm(torch.cat(norms))
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(values, scale)
    return norm
