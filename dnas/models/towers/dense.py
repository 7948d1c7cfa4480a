"""A tower of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from dnas.models.mlp import MLP


def dense_tower(
    width: int, hidden: Sequence[int], output: int, *, batch_norm: bool = False
) -> nn.Module:
    """``width -> hidden ... -> output`` with ReLU between the layers.

    Layers start as torch's do, and not as those of DLRM's MLPs, which are larger.

    Args:
        width: Of the input.
        hidden: Of the hidden layers.
        output: Of the output.
        batch_norm: Whether hidden layers are normalized over the batch before their ReLU.
    """
    sizes = (width, *hidden, output)
    if batch_norm:
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(sizes[:-1]):
            layers += [nn.Linear(wide, narrow), nn.BatchNorm1d(narrow), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-2], output))
    net = MLP(sizes, last_activation=False)
    for layer in net.layers:
        assert isinstance(layer, nn.Linear)
        layer.reset_parameters()
    return net
