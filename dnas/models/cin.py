"""Compressed interaction network: products of field vectors, one order more in each layer.

Letters: B rows of a batch, M fields, D dimension, H_k vectors of layer k, with H_0 = M.

.. [Lian2018xdeepfm] xDeepFM, arXiv:1803.05170, section 3.1 and equation 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from dnas.costs.formulas import cin_flops, cin_weights, linear_flops
from dnas.models.initialization import make_linear


class CompressedInteraction(nn.Module):
    """``X^k_h = sum_i sum_j W^{k,h}_ij (X^{k-1}_i o X^0_j)``, pooled and weighted.

    ``o`` is the element-wise product of two vectors. The vectors of every layer are summed over D
    and each sum has a weight, ``w_cin^T p^+``. Of the variants in [Lian2018xdeepfm]_ and its code:
    the identity between layers, which the paper found best; all vectors of a layer go on to the
    next (the code can pass on half of them); no biases.

    Of the last layer only the sums are needed, and they are dot products::

        sum_d sum_ij W_ij X_id Y_jd = sum_ij W_ij <X_i, Y_j>

    so that it takes D times fewer products than the layers before it.

    Args:
        num_vectors: M.
        dim: D.
        sizes: H_1, H_2, ...; at least one.
    """

    def __init__(self, num_vectors: int, dim: int, sizes: Sequence[int]) -> None:
        super().__init__()
        #: ``(H_k, H_{k-1} * M)`` weights of each layer.
        self.layers = nn.ModuleList(
            make_linear(below * num_vectors, above, bias=False)
            for below, above in pairwise((num_vectors, *sizes))
        )
        self.out = make_linear(sum(sizes), 1, bias=False)
        self.flops = cin_flops(num_vectors, dim, sizes) + linear_flops(sum(sizes), 1)
        self.params = cin_weights(num_vectors, sizes) + sum(sizes)

    def forward(self, vectors: Tensor) -> Tensor:
        """``(B, M, D)`` to ``(B,)``."""
        # The dimension before the vectors: each layer is then one matrix product.
        first = vectors.transpose(1, 2)  # (B, D, M)
        hidden, pooled = first, []
        *before, last = self.layers
        for layer in before:
            hidden = cin_layer(hidden, first, layer)
            pooled.append(hidden.sum(dim=1))
        pooled.append(last_cin_layer(hidden, first, last))
        return self.out(torch.cat(pooled, dim=1)).squeeze(1)


def cin_layer(hidden: Tensor, first: Tensor, weights: nn.Module) -> Tensor:
    """``(B, D, H_{k-1})`` and ``(B, D, M)`` to ``(B, D, H_k)``."""
    products = hidden.unsqueeze(3) * first.unsqueeze(2)  # (B, D, H_{k-1}, M)
    found: Tensor = weights(products.flatten(2))
    return found


def last_cin_layer(hidden: Tensor, first: Tensor, weights: nn.Module) -> Tensor:
    """The same, summed over D: ``(B, H_k)``."""
    dots = hidden.transpose(1, 2) @ first  # (B, H_{k-1}, M)
    found: Tensor = weights(dots.flatten(1))
    return found
