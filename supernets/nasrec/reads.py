"""How likely each output of a block is read, under a soft sample.

Two readers of an output depend on each other through *their* readers, so probabilities of single
outputs do not suffice. :func:`read_probabilities` goes from the last block to the first with the
distribution over all sets of outputs that are read so far, ``4 ** (blocks - 1)`` numbers; above
``EXACT_BLOCKS`` blocks it takes readers as independent, which is exact for one-hot samples only.

All tensors are ``(B,)``, ``(B, K)`` or as said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from dnas.core import Choice, Sample
from supernets.nasrec.shape import Shape

#: Most blocks for which the distribution over sets of outputs is kept.
EXACT_BLOCKS = 8


@dataclass(frozen=True)
class Decided:
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


def decided(shape: Shape, choices: Mapping[str, Choice], sample: Sample) -> list[Decided]:
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
            Decided(
                ops=ops,
                **connections,
                dense_dim=sample["dense_dim"][:, number - 1],
                sparse_dim=sample["sparse_dim"][:, number - 1],
                interact=sample["interact"][:, number - 1, 1],
                fm=sample["fm"][:, number - 1, 1] if "fm" in choices else zeros,
            )
        )
    return blocks


def _needs(block: Decided) -> tuple[Tensor, Tensor, Tensor]:
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


def _needs_by_use(block: Decided) -> Tensor:
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


def _read_by(block: Decided, need: int, source: int) -> tuple[Tensor | None, Tensor | None]:
    """Probabilities that the dense and the sparse output of ``source`` are read, None for never."""
    not_read = None
    if need & 4:
        not_read = 1 - block.dense_in[:, source]
    if need & 1:
        neither = (1 - block.left[:, source]) * (1 - block.right[:, source])
        not_read = neither if not_read is None else not_read * neither
    dense = None if not_read is None else 1 - not_read
    return dense, block.sparse_in[:, source] if need & 2 else None


def read_probabilities(blocks: list[Decided]) -> list[Tensor]:
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


def _step(block: Decided, split: Tensor, start: Tensor | None) -> Tensor:
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


def _read_independently(blocks: list[Decided], last: Tensor) -> list[Tensor]:
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
