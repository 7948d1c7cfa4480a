"""Expected costs of a soft sample: the mean over all networks, of what of each reaches the logit.

A part of a block counts only where the block's output is read. Whether it is depends on decisions
of later blocks alone, and so is independent of what the part costs, which depends on its own block
and on earlier ones. So each cost is a sum of products of expectations, with one factor that takes
work: the joint probability that a block's dense and its sparse output are read
(:mod:`supernets.nasrec.reads`).

Letters as in :mod:`supernets.nasrec.shape`; all tensors are ``(B,)`` or ``(B, K)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core import Choice, Sample
from supernets.nasrec.dense_operators import balanced_rows
from supernets.nasrec.reads import Decided, decided, read_probabilities
from supernets.nasrec.shape import Shape


@dataclass
class _Totals:
    macs: Tensor
    params: Tensor

    def linear(self, on: Tensor, rows: Tensor, columns: Tensor, times: float = 1.0) -> None:
        """A matrix of independent expected sizes."""
        self.params = self.params + on * rows * columns
        self.macs = self.macs + on * rows * columns * times


def expected_costs(
    shape: Shape, choices: Mapping[str, Choice], sample: Sample
) -> tuple[Tensor, Tensor]:
    """Expected FLOPs and parameters, ``(B,)`` each, without embedding tables."""
    blocks = decided(shape, choices, sample)
    reads = read_probabilities(blocks)
    e, rows = float(shape.dim), float(shape.interact_rows)
    zero = torch.zeros_like(blocks[0].interact)
    dense_sizes = torch.tensor(shape.dense_dims, dtype=zero.dtype, device=zero.device)
    sparse_sizes = torch.tensor(shape.sparse_dims, dtype=zero.dtype, device=zero.device)
    totals = _Totals(zero, zero)
    #: Expected widths of the sources, and of the square of the number of rows.
    widths, heights = [zero + shape.num_dense], [zero + shape.num_sparse]
    squares = [zero + shape.num_sparse**2]
    after = 2.0 if shape.layer_norm else 1.0  # of a norm, or of a bias, for each output
    for block, read in zip(blocks, reads, strict=True):
        dense_on = read[:, 1].sum(1) + read[:, 0, 1] * block.interact
        sparse_on = read[:, :, 1].sum(1) + read[:, 1, 0] * block.fm
        d, n = block.dense_dim @ dense_sizes, block.sparse_dim @ sparse_sizes
        x = (block.dense_in * torch.stack(widths, 1)).sum(1)
        sides = [(side * torch.stack(widths, 1)).sum(1) for side in (block.left, block.right)]
        each = block.sparse_in * torch.stack(heights, 1)
        v = each.sum(1)
        # Variances of independent connections add up.
        v2 = v.square() + (block.sparse_in * torch.stack(squares, 1) - each.square()).sum(1)
        # Dense operators.
        on = dense_on * block.op("fc")
        totals.linear(on, d, x)
        totals.params = totals.params + on * d * after
        for name in ("gate", "sum"):
            on = dense_on * block.op(name)
            totals.linear(on, d, sides[0] + sides[1])
            # The gate's own bias is there whether there are norms or not.
            extra = 1.0 if name == "gate" else 0.0
            totals.params = totals.params + on * d * (after + extra)
        _dot(shape, totals, dense_on * block.op("dot"), block, x, v, v2, dense_sizes, after)
        # Sparse operators.
        n2 = block.sparse_dim @ sparse_sizes.square()
        for name in ("embed_fc", "attention"):
            on = sparse_on * block.op(name)
            totals.linear(on, n, v, times=e)
            totals.params = totals.params + on * n * after
            if name == "attention":
                totals.macs = totals.macs + on * 2 * n2 * e
                if shape.transformer_attention:
                    totals.macs = totals.macs + on * n * 6 * e * e
                    totals.params = totals.params + on * (6 * e * e + 10 * e)
        # Links between the branches.
        if shape.fm_link:
            on = (read[:, 1].sum(1)) * block.fm
            totals.linear(on, d, zero + e)
            totals.params = totals.params + on * d * after
        on = read[:, :, 1].sum(1) * block.interact
        totals.linear(on, zero + rows * e, d)
        totals.params = totals.params + on * rows * e * after
        widths.append(d)
        heights.append(n + rows * block.interact)
        squares.append(n2 + block.interact * (2 * rows * n + rows**2))
    head = widths[-1] + e * heights[-1]
    return 2 * (totals.macs + head), totals.params + head + 1


def _dot(
    shape: Shape,
    totals: _Totals,
    on: Tensor,
    block: Decided,
    x: Tensor,
    v: Tensor,
    v2: Tensor,
    dense_sizes: Tensor,
    after: float,
) -> None:
    """A dot product between ``x`` numbers and ``v`` rows, whose expected square is ``v2``."""
    e = float(shape.dim)
    one = torch.ones_like(x)
    totals.linear(on, one * e, x)
    totals.params = totals.params + on * e * after
    d = block.dense_dim @ dense_sizes
    if shape.balanced_dot:
        few = [balanced_rows(dim) for dim in shape.dense_dims]
        kept = torch.tensor(few, dtype=x.dtype, device=x.device)
        totals.linear(on, block.dense_dim @ kept, v, times=e)
        totals.params = totals.params + on * (block.dense_dim @ kept) * after
        gram = block.dense_dim @ (kept + 1).square()
        project = block.dense_dim @ (dense_sizes * kept * (kept + 1) / 2)
    else:
        gram = v2 + 2 * v + 1
        project = d * (v2 + v) / 2
    totals.macs = totals.macs + on * (gram * e + project)
    totals.params = totals.params + on * (project + d * after)
