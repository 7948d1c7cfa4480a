"""Evaluation mode for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """``module`` is in evaluation mode; afterwards every part has the mode that it had before.

    ``module.train(was_training)`` would put parts into training mode that are frozen, such as a
    batch norm in evaluation mode.

    Args:
        module: With all its parts.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
