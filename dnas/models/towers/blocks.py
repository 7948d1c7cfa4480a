"""Choice blocks of AutoTower (section 3.2.2, Table 1) and the towers that are stacks of them.

Letters: R rows, D dimension of a block's output, n inputs of a block, H heads, A width of a head.

A block takes the tower's aligned input and the outputs of all blocks before it, n vectors of D
each, and gives one more: an operation, a linear layer to D, and, but for the last block, a norm and
ReLU. The norm of the paper is over the batch. The last block's output is the tower's.

.. [Vaswani2017attention] Attention is all you need, arXiv:1706.03762.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dnas.models.towers.norms import NormKind, make_norm

#: Hidden sizes of operations mlp_*.
HIDDEN = (16, 32, 64, 128, 256, 512, 1024)
#: Element-wise functions of operations ew_*; the average is the sum divided by n.
ELEMENT_WISE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": torch.add,
    "avg": torch.add,
    "min": torch.minimum,
    "max": torch.maximum,
    "product": torch.mul,
}
#: Numbers of heads of operations sa_*.
HEADS = (1, 2, 3, 4)
#: A: the width of a head.
HEAD_WIDTH = 8
#: Names of all operations.
OPERATIONS = (
    *(f"mlp_{size}" for size in HIDDEN),
    *(f"ew_{name}" for name in ELEMENT_WISE),
    *(f"sa_{heads}" for heads in HEADS),
)


def is_possible(operation: str, inputs: int) -> bool:
    """Whether an operation makes sense for n inputs: element-wise ones need two."""
    return inputs > 1 or not operation.startswith("ew_")


class HiddenLayer(nn.Module):
    """mlp_*: a linear layer on all inputs, side by side.

    Args:
        inputs: n.
        dim: D.
        size: Units.
        activated: A ReLU follows. Without it the layer and the block's own linear layer are one
            linear function of at most this rank, as in the released program.
    """

    def __init__(self, inputs: int, dim: int, size: int, *, activated: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs * dim, size)
        self.activated = activated
        self.width = size

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """n tensors ``(R, D)`` to ``(R, size)``."""
        hidden = self.linear(torch.cat(list(tensors), dim=1))
        return F.relu(hidden) if self.activated else hidden


class ElementWise(nn.Module):
    """ew_*: the inputs' sum, average, smallest, largest or product, element by element.

    Args:
        dim: D.
        name: A key of ``ELEMENT_WISE``.
    """

    def __init__(self, dim: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.width = dim

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """n tensors ``(R, D)`` to ``(R, D)``."""
        found = reduce(ELEMENT_WISE[self.name], tensors)
        return found / len(tensors) if self.name == "avg" else found


class TokenAttention(nn.Module):
    """sa_*: self-attention with the inputs as tokens, all of whose outputs are kept.

    ``concat_h(softmax(Q_h K_h^T / sqrt(A)) V_h) + W_R x`` for each token x, side by side; after
    [Vaswani2017attention]_, with the residual of AutoInt's equation 8 and no activation.

    Args:
        inputs: n.
        dim: D.
        heads: H.
    """

    def __init__(self, inputs: int, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        #: Queries, keys, values and residual, H * A rows of each: one product instead of four.
        self.project = nn.Linear(dim, 4 * heads * HEAD_WIDTH)
        self.width = inputs * heads * HEAD_WIDTH

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """n tensors ``(R, D)`` to ``(R, n * H * A)``."""
        tokens = torch.stack(list(tensors), dim=1)  # (R, n, D)
        *attended, residual = self.project(tokens).chunk(4, dim=2)  # (R, n, H * A) each
        query, key, value = (
            part.unflatten(2, (self.heads, HEAD_WIDTH)).transpose(1, 2) for part in attended
        )  # (R, H, n, A)
        scores = query @ key.transpose(2, 3) / math.sqrt(HEAD_WIDTH)
        mixed = (torch.softmax(scores, dim=3) @ value).transpose(1, 2).flatten(2)
        return (mixed + residual).flatten(1)


class TowerBlock(nn.Module):
    """An operation, a linear layer to D, and what follows it.

    Args:
        operation: One of ``OPERATIONS``.
        inputs: n.
        dim: D.
        norm: What follows: "batch" or "layer" norm, None for nothing.
        relu: ReLU follows, last.
        activated: See :class:`HiddenLayer`.
    """

    def __init__(
        self,
        operation: str,
        inputs: int,
        dim: int,
        *,
        norm: NormKind | None,
        relu: bool,
        activated: bool,
    ) -> None:
        super().__init__()
        self.operation = _make(operation, inputs, dim, activated)
        self.linear = nn.Linear(self.operation.width, dim)
        self.norm = None if norm is None else make_norm(norm, dim)
        self.relu = relu

    def forward(self, tensors: Sequence[Tensor]) -> Tensor:
        """n tensors ``(R, D)`` to ``(R, D)``."""
        x = self.linear(self.operation(tensors))
        if self.norm is not None:
            x = self.norm(x)
        return F.relu(x) if self.relu else x


def _make(
    operation: str, inputs: int, dim: int, activated: bool
) -> HiddenLayer | ElementWise | TokenAttention:
    kind, _, name = operation.partition("_")
    if kind == "mlp":
        return HiddenLayer(inputs, dim, int(name), activated=activated)
    if kind == "ew":
        return ElementWise(dim, name)
    return TokenAttention(inputs, dim, int(name))


#: From the tensors so far, ``(R, D)`` each, to the next one.
Step = Callable[[Sequence[Tensor]], Tensor]


def stacked(aligned: Tensor, blocks: Iterable[Step]) -> Tensor:
    """The last block's output, each block being given all tensors before it.

    Args:
        aligned: ``(R, D)`` the tower's aligned input, the first of the tensors.
        blocks: In their order; at least one.

    Returns:
        ``(R, D)``.
    """
    tensors = [aligned]
    for block in blocks:
        tensors.append(block(tensors))
    return tensors[-1]


class BlockTower(nn.Module):
    """A tower: its input aligned to D, and a stack of blocks, each of which sees all before it.

    Args:
        align: Linear, ``(R, W)`` to ``(R, D)``.
        blocks: In their order; the k-th, from 1, has k inputs.
    """

    def __init__(self, align: nn.Linear, blocks: Sequence[TowerBlock]) -> None:
        super().__init__()
        self.align = align
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> Tensor:
        """``(R, W)`` to ``(R, D)``."""
        return stacked(self.align(x), self.blocks)
