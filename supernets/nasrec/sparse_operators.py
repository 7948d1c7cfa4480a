"""Operators with a sparse output; formulas in :mod:`supernets.nasrec.operators`."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor

from dnas.core import Operator as Work
from supernets.nasrec.layers import Layer, Linear, Norm, Weights
from supernets.nasrec.shape import upto
from supernets.nasrec.site import Inputs, Operator, Site

#: Initial scale of the inner norms of the released transformer layer.
_INNER_SCALE = 0.17


class EmbedFC(Operator):
    """``embed_fc``."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        self.project = self.linear("project", site.sparse_dim, site.sparse, times=site.shape.dim)
        self.norm = self.norms("norm", site.sparse_dim, times=site.shape.dim)

    def layers(self) -> Iterator[Layer]:
        yield self.project
        yield from self.norm

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        return F.relu(self.through(self.norm, weights, self.project(weights, inputs.sparse)))


class Attention(Operator):
    """``attention``: the paper's formula, or the transformer layer of the released code."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        e, rows = site.shape.dim, site.sparse_dim
        self.project = self.linear("project", rows, site.sparse, times=e)
        self.norm = self.norms("norm", rows, times=e)
        every = upto(e)

        def inner(part: str, out: int = e) -> Linear:
            return self.linear(part, out, every, times=rows, bias=True)

        self.inner: dict[str, Layer] = {}
        if site.shape.transformer_attention:
            self.inner = {
                "qkv": inner("qkv", 3 * e),
                "out": inner("out"),
                "norm1": Norm(f"{prefix}.norm1", every, rows, _INNER_SCALE),
                "hidden": inner("hidden"),
                "back": inner("back"),
                "norm2": Norm(f"{prefix}.norm2", every, rows, _INNER_SCALE),
            }

    def layers(self) -> Iterator[Layer]:
        yield self.project
        yield from self.norm
        yield from self.inner.values()

    def bmm_macs(self) -> int:
        return 2 * self.site.sparse_dim**2 * self.site.shape.dim

    def products(self) -> Iterator[Work]:
        heads = self.site.shape.attention_heads if self.inner else 1
        sizes = {"vectors": self.site.sparse_dim, "dim": self.site.shape.dim, "heads": heads}
        yield Work.of("nasrec_attention", **sizes)

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        y = self.through(self.norm, weights, self.project(weights, inputs.sparse))  # (B, e, N)
        tokens = y.transpose(1, 2).contiguous()  # (B, N, e)
        if not self.inner:
            return attend(tokens).transpose(1, 2)
        qkv = self.inner["qkv"](weights, tokens)
        attended = self.inner["out"](weights, attend_in_heads(qkv, self.site.shape.attention_heads))
        tokens = self.inner["norm1"](weights, tokens + attended)
        hidden = F.relu(self.inner["hidden"](weights, tokens))
        tokens = self.inner["norm2"](weights, tokens + self.inner["back"](weights, hidden))
        return tokens.transpose(1, 2)


def attend(tokens: Tensor) -> Tensor:
    """Attention in which a vector is query, key and value: ``(B, N, e)`` to the same."""
    one_head = tokens.unsqueeze(1)
    return F.scaled_dot_product_attention(one_head, one_head, one_head).squeeze(1)


def attend_in_heads(qkv: Tensor, heads: int) -> Tensor:
    """Attention in several heads: queries, keys and values ``(B, N, 3 e)`` to ``(B, N, e)``."""
    batch, rows, _ = qkv.shape
    q, k, v = qkv.view(batch, rows, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, e / heads)
    return mixed.transpose(1, 2).flatten(2)
