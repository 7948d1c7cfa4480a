"""The loss of a batch, with the mistakes found that torch would let pass."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dnas.errors import ConfigError


def loss_of(
    loss_function: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, labels: Tensor
) -> Tensor:
    """``loss_function(outputs, labels)``; nothing is read from the device.

    Raises:
        ConfigError: The outputs are no tensor, outputs and labels would be broadcast against each
            other (which compares every row with every other), or the loss is no scalar.
    """
    if not isinstance(outputs, Tensor):
        raise ConfigError(
            f"the model's forward gives a {type(outputs).__name__}; return one tensor of outputs"
        )
    if labels.is_floating_point() and _blurs_rows(outputs.shape, labels.shape):
        raise ConfigError(
            f"the model gives outputs of shape {tuple(outputs.shape)}, but the labels have "
            f"{tuple(labels.shape)}: a loss would compare rows with the labels of others; give "
            "both the same shape, for example end forward with .squeeze(1)"
        )
    loss = loss_function(outputs, labels)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = (
            f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        )
        raise ConfigError(
            f"loss_function gives {found}; it must give one number, the mean over the rows "
            "(reduction='mean')"
        )
    return loss


def _blurs_rows(outputs: torch.Size, labels: torch.Size) -> bool:
    """Whether broadcasting would make more numbers than both have, or repeat one row for all."""
    try:
        together = torch.broadcast_shapes(outputs, labels)
    except RuntimeError:
        return False  # torch will say so
    if together.numel() > max(outputs.numel(), labels.numel()):
        return True
    return outputs[:1] != labels[:1]
