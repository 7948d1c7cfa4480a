"""Small NASRec spaces for tests."""

from __future__ import annotations

from dataclasses import replace

import torch

from supernets.nasrec import NASRecSuperNet, Shape
from supernets.nasrec.prior import NASRecPrior
from supernets.nasrec.shape import DENSE_OPERATORS, SPARSE_OPERATORS

FULL = Shape(
    num_dense=3,
    num_sparse=2,
    dim=4,
    num_blocks=3,
    dense_operators=DENSE_OPERATORS,
    sparse_operators=SPARSE_OPERATORS,
    dense_dims=(3, 5),
    sparse_dims=(2, 4),
    attention_heads=2,
)
#: As the authors' code has it.
RELEASED = replace(FULL, interact_rows=2, fm_link=True, transformer_attention=True, pad_inputs=True)
TABLE_ROWS = (7, 5)


def inputs(rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(rows, 3, generator=generator)
    return dense, torch.randint(0, 5, (rows, 2), generator=generator)


def net(shape: Shape = FULL) -> NASRecSuperNet:
    return NASRecSuperNet(shape, TABLE_ROWS)


def prior(super_net: NASRecSuperNet, *, limit: int = 9, binomial: bool = False) -> NASRecPrior:
    return NASRecPrior(super_net, input_limit=limit, binomial_paths=binomial)
