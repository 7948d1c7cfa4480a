"""A chain of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from dnas.errors import ConfigError
from dnas.models.dense import linear_relu
from dnas.models.initialization import make_linear


class MLP(nn.Module):
    """FC, ReLU, FC, ReLU, ... with an optional ReLU at the end.

    Args:
        sizes: Widths, input first, output last. A single width is the identity.
        last_activation: Apply ReLU after the last layer too.
    """

    def __init__(self, sizes: Sequence[int], *, last_activation: bool) -> None:
        super().__init__()
        # Width 0 of the input is allowed: a click log may have no dense features.
        if not sizes or sizes[0] < 0 or any(size < 1 for size in sizes[1:]):
            raise ConfigError(f"MLP sizes must be positive, but got {tuple(sizes)}")
        self.sizes = tuple(sizes)
        self.last_activation = last_activation
        self.layers = nn.ModuleList(make_linear(i, o) for i, o in pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, sizes[0])`` to ``(B, sizes[-1])``."""
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, nn.Linear)
            if self.last_activation or index < len(self.layers) - 1:
                x = linear_relu(x, layer.weight, layer.bias)
            else:
                x = layer(x)
        return x
