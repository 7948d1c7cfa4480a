"""A network as a pure function of its weights, the same in the supernet and on its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from dnas.core import Operator as Work
from dnas.models.operators import linear_operator
from supernets.nasrec.genome import Block, Genome, dense_ranges, sparse_ranges
from supernets.nasrec.layers import Layer, Linear, Norm, Weight, Weights, layer_weights
from supernets.nasrec.links import FactorizationMachine, Interact
from supernets.nasrec.liveness import Live, inputs_in_use, liveness
from supernets.nasrec.operators import OPERATORS
from supernets.nasrec.shape import Shape, size, upto
from supernets.nasrec.site import Inputs, Operator, Site


@dataclass(frozen=True)
class Costs:
    """Costs of a network for one row of the batch, without embedding look-ups.

    Attributes:
        linear_macs: Multiply-adds with weights.
        bmm_macs: Multiply-adds of activations with each other.
        norm_operations: Of layer norms, as fvcore counts them: 5 for an element.
        params: Weights, without embedding tables.
    """

    linear_macs: int
    bmm_macs: int
    norm_operations: int
    params: int

    @property
    def flops(self) -> int:
        """2 x MACs, as ``torch.utils.flop_counter`` counts."""
        return 2 * (self.linear_macs + self.bmm_macs)

    @property
    def fvcore_macs(self) -> int:
        """What fvcore calls flops: MACs and the operations of norms."""
        return self.linear_macs + self.bmm_macs + self.norm_operations


class BlockNetwork:
    """The operators in use of one block.

    Args:
        shape: Of the space.
        genome: Of the network.
        number: Of the block, from 1.
        live: What of it is in use.
        whole: See :class:`~supernets.nasrec.operators.Site`.
    """

    def __init__(
        self, shape: Shape, genome: Genome, number: int, live: Live, *, whole: bool
    ) -> None:
        block = genome[number - 1]
        self.shape, self.block, self.live = shape, block, live
        self.sources = inputs_in_use(block, live)
        self.site = Site(
            shape=shape,
            dense=dense_ranges(shape, genome, self.sources["dense_in"]),
            sparse=sparse_ranges(shape, genome, self.sources["sparse_in"]),
            left=dense_ranges(shape, genome, self.sources["left"]),
            right=dense_ranges(shape, genome, self.sources["right"]),
            dense_dim=block.dense_dim,
            sparse_dim=block.sparse_dim,
            whole=whole,
        )
        self.dense = self._operators(block.dense_ops, number) if live.dense(block) else []
        self.sparse = self._operators(block.sparse_ops, number) if live.sparse(block) else []
        self.interact = Interact(self.site, f"{number}.interact") if live.interact(block) else None
        self.fm = FactorizationMachine(self.site, f"{number}.fm") if live.fm(block) else None

    def _operators(self, names: Sequence[str], number: int) -> list[Operator]:
        return [OPERATORS[name](self.site, f"{number}.{name}") for name in names]

    def operators(self) -> Iterator[Operator]:
        """All that are in use, Project-Concatenate and the factorization machine among them."""
        yield from self.dense
        yield from self.sparse
        yield from (part for part in (self.interact, self.fm) if part is not None)

    def __call__(
        self, weights: Weights, dense: Sequence[Tensor], sparse: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Outputs ``(B, D)`` and ``(B, e, N [+ R])`` from those of all sources before."""
        raw = dense[0]
        inputs = Inputs(
            dense=_cat([dense[s] for s in self.sources["dense_in"]], raw[:, :0]),
            sparse=_cat([sparse[s] for s in self.sources["sparse_in"]], sparse[0][:, :, :0]),
            left=[dense[s] for s in self.sources["left"]] or [raw[:, :0]],
            right=[dense[s] for s in self.sources["right"]] or [raw[:, :0]],
        )
        batch = raw.shape[0]
        dense_out = _sum([op(weights, inputs) for op in self.dense])
        if dense_out is None:
            dense_out = raw.new_zeros(batch, self.block.dense_dim)
        sparse_out = _sum([op(weights, inputs) for op in self.sparse])
        if sparse_out is None:
            sparse_out = raw.new_zeros(batch, self.shape.dim, self.block.sparse_dim)
        rows = None if self.interact is None else self.interact.of(weights, dense_out)
        if self.fm is not None:
            dense_out = dense_out + self.fm.of(weights, sparse_out)
        if rows is not None:
            sparse_out = torch.cat([sparse_out, rows], dim=2)
        return dense_out, sparse_out


class Network:
    """All blocks in use and the last linear.

    Args:
        shape: Of the space.
        genome: Every block; what does not reach the logit is left out.
        lives: What to keep instead of what reaches the logit.
        whole: See :class:`~supernets.nasrec.operators.Site`.
    """

    def __init__(
        self,
        shape: Shape,
        genome: Genome,
        lives: Sequence[Live] | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.shape, self.genome = shape, genome
        lives = liveness(genome) if lives is None else lives
        self.blocks = {
            number: BlockNetwork(shape, genome, number, live, whole=whole)
            for number, live in enumerate(lives, start=1)
            if live.dense_out or live.sparse_out
        }
        last: Block = genome[-1]
        rows = sparse_ranges(shape, genome, [len(genome)])
        # Places of the last block's rows, wherever that block's rows lie among all.
        self.head_rows = tuple((start - shape.sparse_starts[-1], length) for start, length in rows)
        self.head = (
            Weight("head.dense", (upto(1), upto(last.dense_dim))),
            Weight("head.sparse", (upto(shape.dim), self.head_rows)),
            Weight("head.bias", (upto(1),), fill=0.0),
        )

    @cached_property
    def weights(self) -> tuple[Weight, ...]:
        """Every weight of the network."""
        return (*layer_weights(self._layers()), *self.head)

    def _layers(self) -> Iterator[Layer]:
        for block in self.blocks.values():
            for operator in block.operators():
                yield from operator.layers()

    def features(self, weights: Weights, dense: Tensor, sparse: Tensor) -> Tensor:
        """Inputs of the last linear.

        Args:
            weights: By name.
            dense: ``(B, num_dense)``.
            sparse: ``(B, e, F)`` embeddings.

        Returns:
            ``(B, D + e (N + R))``.
        """
        dense_outputs: list[Tensor] = [dense]
        sparse_outputs: list[Tensor] = [sparse]
        for number in range(1, len(self.genome) + 1):
            block = self.blocks.get(number)
            outputs = (
                (dense[:, :0], sparse[:, :, :0])
                if block is None
                else block(weights, dense_outputs, sparse_outputs)
            )
            dense_outputs.append(outputs[0])
            sparse_outputs.append(outputs[1])
        return torch.cat([dense_outputs[-1], sparse_outputs[-1].flatten(1)], dim=1)

    def head_weight(self, weights: Weights) -> Tensor:
        """``(1, D + e (N + R))``: of the last linear."""
        return torch.cat([weights["head.dense"], weights["head.sparse"].reshape(1, -1)], dim=1)

    def __call__(self, weights: Weights, dense: Tensor, sparse: Tensor) -> Tensor:
        """Logits ``(B,)``; the arguments are those of ``features``."""
        features = self.features(weights, dense, sparse)
        head = self.head_weight(weights)
        return torch.nn.functional.linear(features, head, weights["head.bias"]).squeeze(1)

    @property
    def head_width(self) -> int:
        """D + e (N + R): inputs of the last linear."""
        return self.genome[-1].dense_dim + self.shape.dim * size(self.head_rows)

    def work(self) -> list[Work]:
        """What is run, to be measured: layers, products, and the last linear."""
        products = [p for b in self.blocks.values() for op in b.operators() for p in op.products()]
        head = linear_operator(self.head_width, 1, relu=False)
        return [*(layer.work() for layer in self._layers()), *products, head]

    def costs(self) -> Costs:
        """Exact costs of what is in use."""
        linear = sum(layer.macs() for layer in self._layers() if isinstance(layer, Linear))
        return Costs(
            linear_macs=linear + self.head_width,
            bmm_macs=sum(op.bmm_macs() for b in self.blocks.values() for op in b.operators()),
            norm_operations=sum(n.operations() for n in self._layers() if isinstance(n, Norm)),
            params=sum(_numel(weight.shape) for weight in self.weights),
        )


def _numel(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _cat(parts: list[Tensor], nothing: Tensor) -> Tensor:
    if not parts:
        return nothing
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


def _sum(parts: list[Tensor]) -> Tensor | None:
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
