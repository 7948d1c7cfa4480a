"""One tower of the supernet: every operation of every block, and paths through them.

Letters: R rows, B rows of a sample, K operations, D dimension of a block's output, W width of the
tower's input.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from dnas.core.mixing import calculate_weighted_sum
from dnas.models.towers.blocks import OPERATIONS, BlockTower, TowerBlock, is_possible, stacked
from supernets.autotower.config import AutoTowerConfig


def possible_operations(inputs: int) -> tuple[str | None, ...]:
    """The operations of a block with n inputs, in the order of ``OPERATIONS``; None: not there."""
    return tuple(name if is_possible(name, inputs) else None for name in OPERATIONS)


def _columns_of(weights: Tensor, operations: Sequence[str]) -> Tensor:
    """The columns of these operations, in the order of ``OPERATIONS``, of ``(B, K)``.

    Without an index list, which would be copied to the device at every step.
    """
    if len(operations) == len(OPERATIONS):
        return weights
    each = weights.unbind(dim=1)
    return torch.stack([each[OPERATIONS.index(name)] for name in operations], dim=1)


def _mixed(block: nn.ModuleDict, weights: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """``(R, D)``: the weighted sum of what a block's operations give."""
    return calculate_weighted_sum(weights, [operation(tensors) for operation in block.values()])


class TowerPaths(nn.Module):
    """All operations of a tower's blocks, each with weights and a norm of its own.

    Args:
        width: W.
        blocks: Number of blocks.
        config: Their dimension and form.
    """

    def __init__(self, width: int, blocks: int, config: AutoTowerConfig) -> None:
        super().__init__()
        self.width = width
        self.config = config
        self.align = nn.Linear(width, config.block_dimension)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: self._block(name, number, blocks)
                    for name in possible_operations(number)
                    if name is not None
                }
            )
            for number in range(1, blocks + 1)
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Mix the outputs of each block's operations.

        Args:
            x: ``(R, W)``.
            weights: ``(R, blocks, K)`` or ``(1, blocks, K)``.

        Returns:
            ``(R, D)``.
        """
        blocks = (
            partial(_mixed, block, _columns_of(weights[:, number], list(block)))
            for number, block in enumerate(self._operations())
        )
        return stacked(self.align(x), blocks)

    def path(self, x: Tensor, operations: Sequence[str]) -> Tensor:
        """``(R, W)`` to ``(R, D)`` by one operation for each block; nothing else is computed."""
        return stacked(self.align(x), self._chosen(operations))

    def build(self, operations: Sequence[str], *, inherit_weights: bool) -> BlockTower:
        """The plain tower of one path."""
        if inherit_weights:
            align, blocks = copy.deepcopy((self.align, self._chosen(operations)))
            return BlockTower(align, blocks)
        align = nn.Linear(self.width, self.config.block_dimension)
        blocks = [
            self._block(name, number, len(operations))
            for number, name in enumerate(operations, start=1)
        ]
        return BlockTower(align, blocks)

    def _operations(self) -> list[nn.ModuleDict]:
        return cast(list[nn.ModuleDict], list(self.blocks))

    def _chosen(self, operations: Sequence[str]) -> list[TowerBlock]:
        pairs = zip(self._operations(), operations, strict=True)
        return [cast(TowerBlock, block[name]) for block, name in pairs]

    def _block(self, operation: str, number: int, blocks: int) -> TowerBlock:
        """An operation of block ``number``, from 1, which has as many inputs."""
        last = number == blocks
        return TowerBlock(
            operation,
            number,
            self.config.block_dimension,
            norm=None if last else self.config.block_norm,
            relu=self.config.output_relu or not last,
            activated=self.config.mlp_form == "activated",
        )
