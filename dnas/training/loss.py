"""The loss of a batch, with the mistakes found that torch would let pass."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from dnas.errors import ConfigError
from dnas.training.row_mixing import RowMixing

LossFunction = Callable[[Tensor, Tensor], Tensor]
#: Shapes without their rows.
_Shapes = tuple[torch.Size, torch.Size]

#: The shapes for which loss functions have been watched, once each.
_WATCHED: WeakKeyDictionary[LossFunction, set[_Shapes]] = WeakKeyDictionary()


def loss_of(loss_function: LossFunction, outputs: Tensor, labels: Tensor) -> Tensor:
    """``loss_function(outputs, labels)``; nothing is read from the device.

    What the loss does with rows is watched the first time it gets outputs and labels of such
    shapes, and not afterwards (see :class:`RowMixing` for what it sees).

    Raises:
        ConfigError: The outputs are no tensor, the loss compares rows of outputs with the labels of
            other rows (by broadcasting one against the other), or it is no scalar.
    """
    if not isinstance(outputs, Tensor):
        raise ConfigError(
            f"the model's forward gives a {type(outputs).__name__}; return one tensor of outputs"
        )
    loss = _watched(loss_function, outputs, labels)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        found = (
            f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        )
        raise ConfigError(
            f"loss_function gives {found}; it must give one number, the mean over the rows "
            "(reduction='mean')"
        )
    return loss


def _watched(loss_function: LossFunction, outputs: Tensor, labels: Tensor) -> Tensor:
    if outputs.shape == labels.shape:
        return loss_function(outputs, labels)
    shapes = outputs.shape[1:], labels.shape[1:]
    try:
        watched = _WATCHED.setdefault(loss_function, set())
    except TypeError:  # it cannot be remembered
        watched = set()
    if shapes in watched:
        return loss_function(outputs, labels)
    with RowMixing(outputs, labels):
        loss = loss_function(outputs, labels)
    if len(labels) > 1:  # a single row cannot be mixed with others
        watched.add(shapes)
    return loss
