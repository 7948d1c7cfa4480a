"""The operators of a block, section 3.1 of [Zhang2023nasrec]_, as in the paper and as released.

Sparse tensors are ``(B, e, N)`` here, embedding coordinates before rows, so that everything which
acts on rows is a plain matrix product on the last axis.

*Paper* (default). Everything is projected to the block's dimensions ("operator outputs are linearly
projected to dim_d"), always: whether two widths happen to be equal changes no network's form, so
that weights mean the same in all networks that share them.

=============  ==========================================================================
fc             ``relu(norm(W x))``
gate           ``norm(sigmoid(W1 left + b) * (W2 right))``, both to D: no square matrix
sum            ``norm(W1 left + W2 right)``
dot            products of pairs of ``[W1 x ; rows]``, then ``norm(W ...)``; rows are the sparse
               input, projected to ``round(sqrt(2 D))`` rows where the dot product is balanced
embed_fc       ``relu(norm(W x))`` on rows
attention      ``softmax(y^T y / sqrt(e)) y`` with ``y = norm(W x)``: no queries, keys or values
fm             ``norm(W ((sum_i v_i)^2 - sum_i v_i^2))`` of the sparse output, for the dense output
interact       Project-Concatenate: ``norm(W dense)`` as R rows of the sparse output
=============  ==========================================================================

*Released* (``pad_inputs``): gate and sum pad the shorter input with zeros, gate has a square matrix
of the padded width, and a linear is left out where it would keep the width. Several sources of one
side are added up, where the released code has one. ``transformer_attention``: attention with
learned projections, residuals and a feed-forward part. Both are options of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.models.interaction import pairwise_dots
from supernets.nasrec.layers import Layer, Linear, Norm, Weights, merged
from supernets.nasrec.shape import Ranges, Shape, size, upto

#: Initial scale of the inner norms of the released transformer layer.
_INNER_SCALE = 0.17


@dataclass(frozen=True)
class Site:
    """Where an operator stands: the sizes of one block.

    Attributes:
        shape: Of the space.
        dense: Places of the concatenated dense input.
        sparse: Of the sparse input.
        left: Of the first input of gate and sum.
        right: Of the second.
        dense_dim: D.
        sparse_dim: N.
        whole: This is the supernet itself, which has the linears that only some networks leave out.
    """

    shape: Shape
    dense: Ranges
    sparse: Ranges
    left: Ranges
    right: Ranges
    dense_dim: int
    sparse_dim: int
    whole: bool = False

    def needs_linear(self, width: int, out: int) -> bool:
        """Whether a projection from ``width`` to ``out`` is a linear and not the identity."""
        return self.whole or not self.shape.pad_inputs or width != out


@dataclass(frozen=True)
class Inputs:
    """What a block reads: dense ``(B, width)`` and sparse ``(B, e, rows)``.

    ``left`` and ``right`` are lists of the sources' outputs, for the released form adds them up; a
    side without a source is one tensor ``(B, 0)``.
    """

    dense: Tensor
    sparse: Tensor
    left: list[Tensor]
    right: list[Tensor]


class Operator:
    """One operator at one site: its layers and what it computes."""

    def __init__(self, site: Site, prefix: str) -> None:
        self.site = site
        self.prefix = prefix

    def layers(self) -> Iterator[Layer]:
        """All layers, for their weights and their costs."""
        raise NotImplementedError

    def bmm_macs(self) -> int:
        """Multiplications of activations with each other, for one row of the batch."""
        return 0

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        raise NotImplementedError

    # Layers by their usual names.

    def linear(
        self, part: str, out: int, columns: Ranges, *, times: int = 1, bias: bool | None = None
    ) -> Linear:
        """A linear to ``out``; with a bias where no norm follows, unless said otherwise."""
        has_bias = not self.site.shape.layer_norm if bias is None else bias
        return Linear(f"{self.prefix}.{part}", upto(out), columns, has_bias, times)

    def norms(self, part: str, width: int, *, times: int = 1) -> list[Norm]:
        """The norm, if operators have them."""
        if not self.site.shape.layer_norm:
            return []
        return [Norm(f"{self.prefix}.{part}", upto(width), times)]

    @staticmethod
    def through(layers: list[Linear] | list[Norm], weights: Weights, x: Tensor) -> Tensor:
        """``x`` through the layers, of which there may be none."""
        for layer in layers:
            x = layer(weights, x)
        return x


class FullyConnected(Operator):
    """``fc``."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        self.project = self.linear("project", site.dense_dim, site.dense)
        self.norm = self.norms("norm", site.dense_dim)

    def layers(self) -> Iterator[Layer]:
        yield self.project
        yield from self.norm

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        return F.relu(self.through(self.norm, weights, self.project(weights, inputs.dense)))


class Sum(Operator):
    """``sum``."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        out = site.dense_dim
        if site.shape.pad_inputs:
            width = _padded_width(site)
            self.project = (
                [self.linear("project", out, upto(width))] if site.needs_linear(width, out) else []
            )
        else:
            self.project = [
                self.linear("left", out, site.left),
                self.linear("right", out, site.right, bias=False),
            ]
        self.norm = self.norms("norm", out)

    def layers(self) -> Iterator[Layer]:
        yield from self.project
        yield from self.norm

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        if self.site.shape.pad_inputs:
            total = _padded(self.site, inputs.left) + _padded(self.site, inputs.right)
            total = self.through(self.project, weights, total)
        else:
            left, right = self.project
            total = left(weights, _cat(inputs.left)) + right(weights, _cat(inputs.right))
        return self.through(self.norm, weights, total)


class Gate(Operator):
    """``gate``."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        out = site.dense_dim
        if site.shape.pad_inputs:
            width = _padded_width(site)
            self.gate = self.linear("gate", width, upto(width), bias=True)
            self.project = (
                [self.linear("project", out, upto(width), bias=True)]
                if site.needs_linear(width, out)
                else []
            )
        else:
            self.gate = self.linear("gate", out, site.left, bias=True)
            self.project = [self.linear("project", out, site.right)]
        self.norm = self.norms("norm", out)

    def layers(self) -> Iterator[Layer]:
        yield self.gate
        yield from self.project
        yield from self.norm

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        if self.site.shape.pad_inputs:
            gate = torch.sigmoid(self.gate(weights, _padded(self.site, inputs.left)))
            out = gate * _padded(self.site, inputs.right)
            out = self.through(self.project, weights, out)
        else:
            gate = torch.sigmoid(self.gate(weights, _cat(inputs.left)))
            out = gate * self.through(self.project, weights, _cat(inputs.right))
        return self.through(self.norm, weights, out)


class DotProduct(Operator):
    """``dot``, balanced (section 4.2) or not."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        e, rows = site.shape.dim, size(site.sparse)
        self.dense, self.dense_norm = [], []
        if site.needs_linear(size(site.dense), e):
            self.dense = [self.linear("dense", e, site.dense)]
            self.dense_norm = self.norms("dense_norm", e)
        self.rows: list[Linear] = []
        self.rows_norm: list[Norm] = []
        chosen: Ranges = site.sparse
        if site.shape.balanced_dot:
            few = balanced_rows(site.dense_dim)
            if site.needs_linear(rows, few):
                self.rows = [self.linear("rows", few, site.sparse, times=e)]
                self.rows_norm = self.norms("rows_norm", few, times=e)
            rows, chosen = few, upto(few)
        self.num_vectors = rows + 1
        pairs = pair_places(chosen)
        self.project = (
            [self.linear("project", site.dense_dim, pairs)]
            if site.needs_linear(size(pairs), site.dense_dim)
            else []
        )
        self.norm = self.norms("norm", site.dense_dim)

    def layers(self) -> Iterator[Layer]:
        for part in (self.dense, self.dense_norm, self.rows, self.rows_norm):
            yield from part
        yield from self.project
        yield from self.norm

    def bmm_macs(self) -> int:
        return self.num_vectors**2 * self.site.shape.dim

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        dense = self.through(self.dense, weights, inputs.dense)
        dense = self.through(self.dense_norm, weights, dense)
        rows = self.through(self.rows, weights, inputs.sparse)
        rows = self.through(self.rows_norm, weights, rows)
        vectors = torch.cat([dense.unsqueeze(1), rows.transpose(1, 2)], dim=1)  # (B, k + 1, e)
        products = pairwise_dots(vectors, *_below_diagonal(self.num_vectors, vectors.device))
        out = self.through(self.project, weights, products)
        return self.through(self.norm, weights, out)


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

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        y = self.through(self.norm, weights, self.project(weights, inputs.sparse))  # (B, e, N)
        tokens = y.transpose(1, 2).contiguous()  # (B, N, e)
        if not self.inner:
            one_head = tokens.unsqueeze(1)
            mixed = F.scaled_dot_product_attention(one_head, one_head, one_head)
            return mixed.squeeze(1).transpose(1, 2)
        attended = self.inner["out"](weights, self._heads(self.inner["qkv"](weights, tokens)))
        tokens = self.inner["norm1"](weights, tokens + attended)
        hidden = F.relu(self.inner["hidden"](weights, tokens))
        tokens = self.inner["norm2"](weights, tokens + self.inner["back"](weights, hidden))
        return tokens.transpose(1, 2)

    def _heads(self, qkv: Tensor) -> Tensor:
        batch, rows, _ = qkv.shape
        heads = self.site.shape.attention_heads
        q, k, v = qkv.view(batch, rows, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, e / heads)
        return mixed.transpose(1, 2).flatten(2)


class FactorizationMachine(Operator):
    """``fm``: from the sparse output of a block, ``(B, e, N)``, for its dense output."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        e, out = site.shape.dim, site.dense_dim
        self.project, self.norm = [], []
        if site.needs_linear(e, out):
            self.project = [self.linear("project", out, upto(e))]
            self.norm = self.norms("norm", out)

    def layers(self) -> Iterator[Layer]:
        yield from self.project
        yield from self.norm

    def of(self, weights: Weights, sparse: Tensor) -> Tensor:
        """``(B, D)``."""
        pairs = sparse.sum(dim=2).square() - sparse.square().sum(dim=2)
        return self.through(self.norm, weights, self.through(self.project, weights, pairs))


class Interact(Operator):
    """``interact``: Project-Concatenate, R rows ``(B, e, R)`` from the dense output ``(B, D)``."""

    def __init__(self, site: Site, prefix: str) -> None:
        super().__init__(site, prefix)
        out = site.shape.dim * site.shape.interact_rows
        self.project, self.norm = [], []
        if site.needs_linear(site.dense_dim, out):
            self.project = [self.linear("project", out, upto(site.dense_dim))]
            self.norm = self.norms("norm", out)

    def layers(self) -> Iterator[Layer]:
        yield from self.project
        yield from self.norm

    def of(self, weights: Weights, dense: Tensor) -> Tensor:
        """``(B, e, R)``."""
        rows = self.through(self.norm, weights, self.through(self.project, weights, dense))
        return rows.view(-1, self.site.shape.interact_rows, self.site.shape.dim).transpose(1, 2)


OPERATORS: dict[str, type[Operator]] = {
    "fc": FullyConnected,
    "gate": Gate,
    "sum": Sum,
    "dot": DotProduct,
    "embed_fc": EmbedFC,
    "attention": Attention,
}


def balanced_rows(dense_dim: int) -> int:
    """Rows that a balanced dot product keeps, ``round(sqrt(2 D))``: about D pairs."""
    return round(math.sqrt(2 * dense_dim))


def pair_places(rows: Ranges) -> Ranges:
    """Places of the products of a dense vector and ``rows``, among those of all rows.

    The dense vector is vector 0, row r is vector r + 1, and the product of vectors i > j has place
    ``i (i - 1) / 2 + j``: rows that are a beginning have products that are a beginning.
    """
    vectors = merged(((0, 1), *((start + 1, length) for start, length in rows)))
    if len(vectors) == 1:
        count = vectors[0][1]
        return upto(count * (count - 1) // 2)
    places: list[tuple[int, int]] = []
    for start, length in vectors:
        for vector in range(start, start + length):
            first = vector * (vector - 1) // 2
            for other, count in vectors:
                kept = min(count, vector - other)
                if kept > 0:
                    places.append((first + other, kept))
    return tuple(places)


@lru_cache(maxsize=256)
def _below_diagonal(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Flat places below the diagonal of a square matrix, row by row, and their mirror images."""
    rows, columns = torch.tril_indices(count, count, offset=-1, device=device)
    return rows * count + columns, columns * count + rows


def _padded_width(site: Site) -> int:
    """Width of the longest source on either side."""
    return max((length for _, length in (*site.left, *site.right)), default=0)


def _padded(site: Site, parts: list[Tensor]) -> Tensor:
    """The sum of outputs of different width, shorter ones padded with zeros."""
    width = _padded_width(site)
    padded = [F.pad(part, (0, width - part.shape[1])) for part in parts]
    return torch.stack(padded).sum(0) if len(padded) > 1 else padded[0]


def _cat(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
