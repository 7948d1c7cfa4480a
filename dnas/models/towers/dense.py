"""A tower of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from dnas.models.mlp import MLP


def dense_tower(width: int, hidden: Sequence[int], output: int) -> MLP:
    """``width -> hidden ... -> output`` with ReLU between the layers.

    Layers start as torch's do, and not as those of DLRM's MLPs, which are larger.
    """
    net = MLP((width, *hidden, output), last_activation=False)
    for layer in net.layers:
        assert isinstance(layer, nn.Linear)
        layer.reset_parameters()
    return net
