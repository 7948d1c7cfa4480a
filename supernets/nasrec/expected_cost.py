"""Expected costs of a soft sample: the mean over all networks, of what of each reaches the logit.

A part of a block counts only where the block's output is read. Whether it is depends on decisions
of later blocks alone, and so is independent of what the part costs, which depends on its own block
and on earlier ones. So each cost is a sum of products of expectations, with one factor that takes
work: the joint probability that a block's dense and its sparse output are read.

Two readers of an output depend on each other through *their* readers, so probabilities of single
outputs do not suffice. :func:`read_probabilities` goes from the last block to the first with the
distribution over all sets of outputs that are read so far, ``4 ** (blocks - 1)`` numbers; above
``EXACT_BLOCKS`` blocks it takes readers as independent, which is exact for one-hot samples only.

Letters as in :mod:`supernets.nasrec.shape`; all tensors are ``(B,)`` or ``(B, K)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from dnas.core import Choice, Sample
from supernets.nasrec.operators import balanced_rows
from supernets.nasrec.shape import Shape

#: Most blocks for which the distribution over sets of outputs is kept.
EXACT_BLOCKS = 8


@dataclass(frozen=True)
class _Decided:
    """A block's decisions as probabilities."""

    ops: Mapping[str, Tensor]
    dense_in: Tensor  # (B, sources)
    sparse_in: Tensor
    left: Tensor
    right: Tensor
    dense_dim: Tensor  # (B, K)
    sparse_dim: Tensor
    interact: Tensor
    fm: Tensor

    def op(self, name: str) -> Tensor:
        """Probability that an operator is on; 0 for one that the space lacks."""
        return self.ops.get(name, torch.zeros_like(self.interact))


def _decided(shape: Shape, choices: Mapping[str, Choice], sample: Sample) -> list[_Decided]:
    blocks = []
    zeros = torch.zeros_like(sample["interact"][:, 0, 1])
    for number in range(1, shape.num_blocks + 1):
        first = number * (number - 1) // 2
        connections = {
            name: sample[name][:, first : first + number, 1]
            if name in choices
            else zeros.unsqueeze(1).expand(-1, number)
            for name in ("dense_in", "sparse_in", "left", "right")
        }
        ops: dict[str, Tensor] = {}
        for name, operators in (
            ("dense_ops", shape.dense_operators),
            ("sparse_ops", shape.sparse_operators),
        ):
            start = (number - 1) * len(operators)
            for place, operator in enumerate(operators):
                ops[operator] = sample[name][:, start + place, 1]
        blocks.append(
            _Decided(
                ops=ops,
                **connections,
                dense_dim=sample["dense_dim"][:, number - 1],
                sparse_dim=sample["sparse_dim"][:, number - 1],
                interact=sample["interact"][:, number - 1, 1],
                fm=sample["fm"][:, number - 1, 1] if "fm" in choices else zeros,
            )
        )
    return blocks


# ------------------------------------------------------------------------------- what is read


def _needs(block: _Decided) -> tuple[Tensor, Tensor, Tensor]:
    """``(B, 8)`` probabilities of which inputs are read, given what of the block is in use.

    Entry ``4 dense + 2 sparse + binary``. The three tensors are for blocks whose dense operators
    alone, whose sparse operators alone, and both of whose are in use.
    """
    fc, dot = block.op("fc"), block.op("dot")
    binary = 1 - (1 - block.op("gate")) * (1 - block.op("sum"))
    sparse = 1 - (1 - block.op("embed_fc")) * (1 - block.op("attention"))
    events = [torch.stack([1 - p, p], dim=1) for p in (fc, dot, binary, sparse)]
    totals: list[list[Tensor]] = [[torch.zeros_like(fc)] * 8 for _ in range(3)]
    for f, d, b, s in product((0, 1), repeat=4):
        weight = events[0][:, f] * events[1][:, d] * events[2][:, b] * events[3][:, s]
        for case, (dense_on, sparse_on) in enumerate(((1, 0), (0, 1), (1, 1))):
            need = 4 * (dense_on & (f | d)) + 2 * ((dense_on & d) | (sparse_on & s))
            need += dense_on & b
            totals[case][need] = totals[case][need] + weight
    dense_only, sparse_only, both = (torch.stack(total, dim=1) for total in totals)
    return dense_only, sparse_only, both


def _needs_by_use(block: _Decided) -> Tensor:
    """``(B, 2, 2, 8)``: probabilities of ``_needs`` given which outputs are read."""
    dense_only, sparse_only, both = _needs(block)
    fm, interact = block.fm.unsqueeze(1), block.interact.unsqueeze(1)
    nothing = torch.zeros_like(both)
    nothing[:, 0] = 1
    read_sparse = interact * both + (1 - interact) * sparse_only
    read_dense = fm * both + (1 - fm) * dense_only
    return torch.stack(
        [torch.stack([nothing, read_sparse], 1), torch.stack([read_dense, both], 1)], 1
    )


def _read_by(block: _Decided, need: int, source: int) -> tuple[Tensor | None, Tensor | None]:
    """Probabilities that the dense and the sparse output of ``source`` are read, None for never."""
    not_read = None
    if need & 4:
        not_read = 1 - block.dense_in[:, source]
    if need & 1:
        neither = (1 - block.left[:, source]) * (1 - block.right[:, source])
        not_read = neither if not_read is None else not_read * neither
    dense = None if not_read is None else 1 - not_read
    return dense, block.sparse_in[:, source] if need & 2 else None


def read_probabilities(blocks: list[_Decided]) -> list[Tensor]:
    """For each block ``(B, 2, 2)``: how likely its [dense, sparse] outputs are read, jointly."""
    number = len(blocks)
    batch = blocks[0].interact.shape[0]
    last = blocks[0].interact.new_zeros(batch, 2, 2)
    last[:, 1, 1] = 1
    if number > EXACT_BLOCKS:
        return _read_independently(blocks, last)
    found = [last]
    state = torch.zeros_like(last[:, 0, 0]).unsqueeze(1).expand(-1, 4 ** (number - 1)).clone()
    state = _step(blocks[-1], last.view(batch, 2, 2, 1), state)
    for place in range(number - 2, -1, -1):
        split = state.view(batch, 2, 2, -1)
        found.append(split.sum(dim=3))
        if place:
            state = _step(blocks[place], split, None)
    return found[::-1]


def _step(block: _Decided, split: Tensor, start: Tensor | None) -> Tensor:
    """The distribution over sets of read outputs of earlier blocks, after ``block`` has read.

    Args:
        block: The reader.
        split: ``(B, 2, 2, M)``: the distribution before, with the block's own outputs in front. M
            is 1 for the last block, before which nothing was read.
        start: ``(B, M')`` of zeros for the last block.
    """
    needs = _needs_by_use(block)
    earlier = block.dense_in.shape[1] - 1  # blocks before this one; source 0 is the raw input
    total: Tensor | None = start
    for need in range(8):
        part = (needs[..., need].unsqueeze(3) * split).sum(dim=(1, 2))  # (B, M)
        if start is not None:
            part = torch.nn.functional.pad(part, (0, start.shape[1] - 1))
        for source in range(1, earlier + 1):
            # The latest earlier block is the outermost pair of axes.
            inner = 4 ** (source - 1)
            for probability, width in zip(
                _read_by(block, need, source), (2 * inner, inner), strict=True
            ):
                if probability is not None:
                    part = _set_bit(part, probability, width)
        total = part if total is None else total + part
    assert total is not None
    return total


def _set_bit(state: Tensor, probability: Tensor, inner: int) -> Tensor:
    """Set one bit of the state with some probability; ``inner`` states lie below that bit."""
    split = state.view(state.shape[0], -1, 2, inner)
    moved = split[:, :, 0] * probability.view(-1, 1, 1)
    return torch.stack([split[:, :, 0] - moved, split[:, :, 1] + moved], dim=2).view_as(state)


def _read_independently(blocks: list[_Decided], last: Tensor) -> list[Tensor]:
    found = {len(blocks): last}
    unread = {
        number: [torch.ones_like(last[:, 0, 0]), torch.ones_like(last[:, 0, 0])]
        for number in range(1, len(blocks))
    }
    for number in range(len(blocks), 0, -1):
        if number < len(blocks):
            dense, sparse = (1 - p for p in unread[number])
            found[number] = torch.stack(
                [
                    torch.stack([(1 - dense) * (1 - sparse), (1 - dense) * sparse], 1),
                    torch.stack([dense * (1 - sparse), dense * sparse], 1),
                ],
                1,
            )
        block = blocks[number - 1]
        needs = (_needs_by_use(block) * found[number].unsqueeze(3)).sum(dim=(1, 2))  # (B, 8)
        for source in range(1, number):
            read = [torch.zeros_like(last[:, 0, 0]), torch.zeros_like(last[:, 0, 0])]
            for need in range(8):
                for place, probability in enumerate(_read_by(block, need, source)):
                    if probability is not None:
                        read[place] = read[place] + needs[:, need] * probability
            unread[source] = [u * (1 - r) for u, r in zip(unread[source], read, strict=True)]
    return [found[number] for number in range(1, len(blocks) + 1)]


# ------------------------------------------------------------------------------- what it costs


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
    blocks = _decided(shape, choices, sample)
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
    block: _Decided,
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
