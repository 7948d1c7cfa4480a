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


def interacting_flops(num_vectors: int, in_dim: int, heads: int, head_dim: int) -> int:
    """One layer of self-attention over M vectors, each head of width d', without biases.

    ``2 M D 4Hd'`` for queries, keys, values and the residual, ``2 H M^2 d'`` for the scores and
    as much again for the weighted sums of the values.
    """
    projections = linear_flops(in_dim, 4 * heads * head_dim) * num_vectors
    return projections + 2 * 2 * heads * num_vectors * num_vectors * head_dim


def interacting_params(in_dim: int, heads: int, head_dim: int) -> int:
    """``4 D H d'``: queries, keys, values and the residual."""
    return 4 * in_dim * heads * head_dim


def cin_weights(num_vectors: int, sizes: Sequence[int]) -> int:
    """``sum_k H_k H_{k-1} M``: weights of a compressed interaction network, with H_0 = M."""
    return sum(above * below * num_vectors for below, above in pairwise((num_vectors, *sizes)))


def cin_flops(num_vectors: int, dim: int, sizes: Sequence[int]) -> int:
    """``2 D H_k H_{k-1} M`` for each layer but the last, of which only sums over D are computed:
    ``2 D H_{k-1} M`` for dot products and ``2 H_k H_{k-1} M`` for their weights. The products of
    vectors between layers are element-wise.
    """
    before, below = sizes[:-1], (num_vectors, *sizes)[-2]
    last = 2 * (dim + sizes[-1]) * below * num_vectors
    return 2 * dim * cin_weights(num_vectors, before) + last
