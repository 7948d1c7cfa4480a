"""Operators with a dense output; formulas in :mod:`supernets.nasrec.operators`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.core import Operator as Work
from dnas.models.interaction import pairwise_dots
from supernets.nasrec.layers import Layer, Linear, Norm, Weights, merged
from supernets.nasrec.shape import Ranges, size, upto
from supernets.nasrec.site import Inputs, Operator, Site


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

    def products(self) -> Iterator[Work]:
        yield Work.of("nasrec_dot", vectors=self.num_vectors, dim=self.site.shape.dim)

    def __call__(self, weights: Weights, inputs: Inputs) -> Tensor:
        dense = self.through(self.dense, weights, inputs.dense)
        dense = self.through(self.dense_norm, weights, dense)
        rows = self.through(self.rows, weights, inputs.sparse)
        rows = self.through(self.rows_norm, weights, rows)
        out = self.through(self.project, weights, dot_products(dense, rows))
        return self.through(self.norm, weights, out)


def dot_products(dense: Tensor, rows: Tensor) -> Tensor:
    """Products of different vectors: ``(B, e)`` and ``(B, e, k)`` to ``(B, k (k + 1) / 2)``."""
    vectors = torch.cat([dense.unsqueeze(1), rows.transpose(1, 2)], dim=1)  # (B, k + 1, e)
    return pairwise_dots(vectors, *_below_diagonal(vectors.shape[1], vectors.device))


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
@torch.inference_mode(False)  # whoever asks first, training may ask next
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
