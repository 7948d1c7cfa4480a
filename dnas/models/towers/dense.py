"""A tower of fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from dnas.models.mlp import MLP
from dnas.models.towers.norms import NormKind, make_norm


def dense_tower(
    width: int, hidden: Sequence[int], output: int, *, norm: NormKind | None = None
) -> nn.Module:
    """``width -> hidden ... -> output`` with ReLU between the layers.

    Layers start as torch's do, and not as those of DLRM's MLPs, which are larger.

    Args:
        width: Of the input.
        hidden: Of the hidden layers.
        output: Of the output.
        norm: Of hidden layers, before their ReLU; None: they have none.
    """
    sizes = (width, *hidden, output)
    if norm is not None:
        layers: list[nn.Module] = []
        for wide, narrow in pairwise(sizes[:-1]):
            layers += [nn.Linear(wide, narrow), make_norm(norm, narrow), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(sizes[-2], output))
    net = MLP(sizes, last_activation=False)
    for layer in net.layers:
        assert isinstance(layer, nn.Linear)
        layer.reset_parameters()
    return net
