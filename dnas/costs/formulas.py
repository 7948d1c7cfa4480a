"""Closed formulas for the cost of layers, per row of a batch.

FLOPs are 2 x MACs: a multiplication and an addition for every weight used. Adding a bias,
activations, embedding look-ups and the sum over a bag are not counted, as in
``torch.utils.flop_counter``, with which these formulas agree to the last digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

#: Bytes of a float32 weight.
BYTES_PER_WEIGHT = 4


def linear_flops(in_features: int, out_features: int) -> int:
    """``2 * in * out``."""
    return 2 * in_features * out_features


def linear_params(in_features: int, out_features: int) -> int:
    """``in * out + out``: weight matrix and bias."""
    return in_features * out_features + out_features


def mlp_flops(sizes: Sequence[int]) -> int:
    """FLOPs of a chain of linear layers with these widths, input first."""
    return sum(linear_flops(i, o) for i, o in pairwise(sizes))


def mlp_params(sizes: Sequence[int]) -> int:
    """Parameters of a chain of linear layers with these widths, input first."""
    return sum(linear_params(i, o) for i, o in pairwise(sizes))


def dot_interaction_flops(num_vectors: int, dim: int) -> int:
    """``2 * n * n * d``: the full product T T^T, of which one triangle is kept."""
    return 2 * num_vectors * num_vectors * dim
