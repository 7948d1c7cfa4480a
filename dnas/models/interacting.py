"""Interacting layers: multi-head self-attention between fields, with a residual.

Letters: B rows of a batch, M fields, D width of a field's vector, H heads, A width of a head (d').

.. [Song2019autoint] AutoInt, arXiv:1810.11921, section 4.4 and equation 9.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.costs.formulas import interacting_flops, interacting_params, linear_flops
from dnas.models.initialization import init_linear_, make_linear


class InteractingLayer(nn.Module):
    """``ReLU(concat_h(sum_k alpha_mk W_V e_k) + W_R e_m)``, equations 5 to 8 of [Song2019autoint]_.

    ``alpha_m = softmax_k(<W_Q e_m, W_K e_k>)`` for each head. The dot products are not divided by
    sqrt(A), and no layer has a bias, as printed. The attention is two plain matrix products, which
    FLOP counters see.

    Args:
        in_dim: D.
        heads: H.
        head_dim: A.
    """

    def __init__(self, in_dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim
        #: Queries, keys, values and residual, H * A rows of each: one product instead of four.
        self.project = make_linear(in_dim, 4 * heads * head_dim, bias=False)
        for part in self.project.weight.detach().chunk(4):
            init_linear_(part, None)

    def forward(self, vectors: Tensor) -> Tensor:
        """``(B, M, D)`` to ``(B, M, H * A)``."""
        batch, fields, _ = vectors.shape
        *attended, residual = self.project(vectors).chunk(4, dim=2)  # each (B, M, H * A)
        query, key, value = (
            part.view(batch, fields, self.heads, self.head_dim).transpose(1, 2) for part in attended
        )  # (B, H, M, A)
        alpha = torch.softmax(query @ key.transpose(2, 3), dim=3)  # (B, H, M, M)
        mixed = (alpha.to(value.dtype) @ value).transpose(1, 2).flatten(2)  # (B, M, H * A)
        return F.relu(mixed + residual)


class InteractingStack(nn.Module):
    """Interacting layers, and a weight for each number of the last: ``w^T (e_1 + ... + e_M)`` with
    ``+`` for concatenation, equation 9 of [Song2019autoint]_ without its bias.

    Args:
        num_vectors: M.
        in_dim: D.
        layers: Number of layers, at least 1.
        heads: H.
        head_dim: A.
    """

    def __init__(
        self, num_vectors: int, in_dim: int, *, layers: int, heads: int, head_dim: int
    ) -> None:
        super().__init__()
        widths = (in_dim, *((heads * head_dim,) * (layers - 1)))
        self.layers = nn.ModuleList(InteractingLayer(width, heads, head_dim) for width in widths)
        out_features = num_vectors * heads * head_dim
        self.out = make_linear(out_features, 1, bias=False)
        self.flops = linear_flops(out_features, 1) + sum(
            interacting_flops(num_vectors, width, heads, head_dim) for width in widths
        )
        self.params = out_features + sum(
            interacting_params(width, heads, head_dim) for width in widths
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """``(B, M, D)`` to ``(B,)``."""
        for layer in self.layers:
            vectors = layer(vectors)
        return self.out(vectors.flatten(1)).squeeze(1)
