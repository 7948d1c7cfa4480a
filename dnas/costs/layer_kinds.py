"""Operator kinds of layers that come with torch, as most networks use them.

Sizes are numbers only. ``vectors`` and ``steps`` count what a row of the batch holds several of.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dnas.costs.kinds import OperatorKind, register_operator

_BATCHES_OF_IDS = 16


def _conv2d(
    in_channels: int,
    out_channels: int,
    kernel: int,
    size: int,
    stride: int = 1,
    groups: int = 1,
    bias: int = 1,
) -> nn.Module:
    """A convolution of ``size`` x ``size`` pictures, padded by half its kernel."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=bool(bias),
    )


def _pictures(
    batch: int, generator: torch.Generator, /, *, in_channels: int, size: int, **_: Any
) -> tuple[Tensor, ...]:
    return (torch.randn(batch, in_channels, size, size, generator=generator),)


def _layer_norm(width: int, vectors: int = 1) -> nn.Module:
    return nn.LayerNorm(width)


def _vectors(
    batch: int, generator: torch.Generator, /, *, width: int, vectors: int, **_: Any
) -> tuple[Tensor, ...]:
    return (torch.randn(batch, vectors, width, generator=generator),)


class _SelfAttention(nn.Module):
    """Every vector of a row attends to all of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, V, width)`` to the same."""
        out: Tensor = self.attention(x, x, x, need_weights=False)[0]
        return out


def _attention(width: int, vectors: int, heads: int = 1) -> nn.Module:
    return _SelfAttention(width, heads)


def _lstm(inputs: int, hidden: int, steps: int, layers: int = 1) -> nn.Module:
    return nn.LSTM(inputs, hidden, layers, batch_first=True)


def _gru(inputs: int, hidden: int, steps: int, layers: int = 1) -> nn.Module:
    return nn.GRU(inputs, hidden, layers, batch_first=True)


def _sequences(
    batch: int, generator: torch.Generator, /, *, inputs: int, steps: int, **_: Any
) -> tuple[Tensor, ...]:
    return (torch.randn(batch, steps, inputs, generator=generator),)


def _embedding_bag(rows: int, dim: int, bag: int = 1) -> nn.Module:
    return nn.EmbeddingBag(rows, dim, mode="sum")


def _bags(
    batch: int, generator: torch.Generator, /, *, rows: int, bag: int, **_: Any
) -> tuple[Tensor, ...]:
    return (torch.randint(rows, (batch, bag), generator=generator),)


for _kind in (
    OperatorKind(
        "conv2d", _conv2d, _pictures, interpolated=("in_channels", "out_channels", "size")
    ),
    OperatorKind("layer_norm", _layer_norm, _vectors, interpolated=("width", "vectors")),
    OperatorKind("attention", _attention, _vectors, interpolated=("width", "vectors")),
    OperatorKind("lstm", _lstm, _sequences, interpolated=("inputs", "hidden", "steps")),
    OperatorKind("gru", _gru, _sequences, interpolated=("inputs", "hidden", "steps")),
    OperatorKind(
        "embedding_bag",
        _embedding_bag,
        _bags,
        interpolated=("rows", "dim"),
        batches=_BATCHES_OF_IDS,
    ),
):
    register_operator(_kind)
