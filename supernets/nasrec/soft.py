"""The soft path: every operator at every dimension, mixed by the weights of a sample.

Outputs of a block have the largest width, and are zero beyond the width of each part of the
mixture. Connections and switches multiply what goes through them. For a one-hot sample it is the
network, because zeros are as good as absent inputs to every operator: all of them begin with a
linear, and the unbalanced dot product of a zero vector is zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dnas.core import Sample
from supernets.nasrec.genome import everything
from supernets.nasrec.layers import Weights, layer_weights
from supernets.nasrec.links import FactorizationMachine, Interact
from supernets.nasrec.network import BlockNetwork, Network
from supernets.nasrec.operators import OPERATORS
from supernets.nasrec.shape import Shape
from supernets.nasrec.site import Inputs, Operator, Site


class _Mixture:
    """One operator at every width of its output; weights are slices of those of the largest."""

    def __init__(self, operators: Sequence[Operator], widest: int) -> None:
        self.operators = operators
        self.widest = widest

    def __call__(self, whole: Weights, widths: Tensor, inputs: Any) -> Tensor:
        """Outputs weighted by ``(B, K)`` and padded with zeros to the largest width."""
        total: Tensor | None = None
        for place, operator in enumerate(self.operators):
            weights = {w.name: w.take(whole[w.name]) for w in layer_weights(operator.layers())}
            compute = operator.of if isinstance(operator, FactorizationMachine) else operator
            output = compute(weights, inputs)
            part = _scaled(output, widths[:, place])
            part = F.pad(part, (0, self.widest - output.shape[-1]))
            total = part if total is None else total + part
        assert total is not None
        return total


class SoftNetwork:
    """The mixture of all networks of a space.

    Args:
        shape: Of the space; not one whose inputs are padded.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        whole = Network(shape, everything(shape), whole=True)
        self.blocks = {n: _SoftBlock(shape, n, block) for n, block in whole.blocks.items()}
        self.whole = whole

    def __call__(self, whole: Weights, dense: Tensor, sparse: Tensor, sample: Sample) -> Tensor:
        """Logits ``(B,)``.

        Args:
            whole: The supernet's weights.
            dense: ``(B, num_dense)``.
            sparse: ``(B, e, F)``.
            sample: Weights ``(B, D, K)`` or ``(1, D, K)``.
        """
        dense_outputs, sparse_outputs = [dense], [sparse]
        for block in self.blocks.values():
            new_dense, new_sparse = block(whole, dense_outputs, sparse_outputs, sample)
            dense_outputs.append(new_dense)
            sparse_outputs.append(new_sparse)
        features = torch.cat([dense_outputs[-1], sparse_outputs[-1].flatten(1)], dim=1)
        return F.linear(features, self.whole.head_weight(whole), whole["head.bias"]).squeeze(1)


class _SoftBlock:
    def __init__(self, shape: Shape, number: int, block: BlockNetwork) -> None:
        self.shape, self.number = shape, number
        dense_sites = [replace(block.site, dense_dim=dim) for dim in shape.dense_dims]
        sparse_sites = [replace(block.site, sparse_dim=dim) for dim in shape.sparse_dims]

        def mixture(
            operator: type[Operator], name: str, sites: list[Site], widest: int
        ) -> _Mixture:
            return _Mixture([operator(site, f"{number}.{name}") for site in sites], widest)

        self.dense = [
            mixture(OPERATORS[name], name, dense_sites, shape.dense_dims[-1])
            for name in shape.dense_operators
        ]
        self.sparse = [
            mixture(OPERATORS[name], name, sparse_sites, shape.sparse_dims[-1])
            for name in shape.sparse_operators
        ]
        self.fm = mixture(FactorizationMachine, "fm", dense_sites, shape.dense_dims[-1])
        self.interact = Interact(block.site, f"{number}.interact")

    def __call__(
        self, whole: Weights, dense: list[Tensor], sparse: list[Tensor], sample: Sample
    ) -> tuple[Tensor, Tensor]:
        number, shape = self.number, self.shape
        has_binary = "left" in sample
        inputs = Inputs(
            dense=torch.cat(_weighted(dense, self._connections(sample, "dense_in")), dim=1),
            sparse=torch.cat(_weighted(sparse, self._connections(sample, "sparse_in")), dim=2),
            left=_weighted(dense, self._connections(sample, "left")) if has_binary else [],
            right=_weighted(dense, self._connections(sample, "right")) if has_binary else [],
        )
        dense_dims = sample["dense_dim"][:, number - 1]  # (B, K)
        sparse_dims = sample["sparse_dim"][:, number - 1]
        batch = dense[0].shape[0]
        dense_out = dense[0].new_zeros(batch, shape.dense_dims[-1])
        sparse_out = sparse[0].new_zeros(batch, shape.dim, shape.sparse_dims[-1])
        for place, mixture in enumerate(self.dense):
            on = self._on(sample, "dense_ops", place, len(self.dense))
            dense_out = dense_out + _scaled(mixture(whole, dense_dims, inputs), on)
        for place, mixture in enumerate(self.sparse):
            on = self._on(sample, "sparse_ops", place, len(self.sparse))
            sparse_out = sparse_out + _scaled(mixture(whole, sparse_dims, inputs), on)
        rows = _scaled(self.interact.of(whole, dense_out), self._on(sample, "interact"))
        if shape.fm_link:
            pairs = self.fm(whole, dense_dims, sparse_out)
            dense_out = dense_out + _scaled(pairs, self._on(sample, "fm"))
        return dense_out, torch.cat([sparse_out, rows], dim=2)

    def _connections(self, sample: Sample, name: str) -> Tensor:
        """``(B, sources)``: weights of this block's connections."""
        first = self.number * (self.number - 1) // 2
        return sample[name][:, first : first + self.number, 1]

    def _on(self, sample: Sample, name: str, place: int = 0, of: int = 1) -> Tensor:
        """``(B,)``: the weight of one of the ``of`` switches that a block has under ``name``."""
        return sample[name][:, (self.number - 1) * of + place, 1]


def _weighted(outputs: list[Tensor], weights: Tensor) -> list[Tensor]:
    return [_scaled(output, weights[:, place]) for place, output in enumerate(outputs)]


def _scaled(output: Tensor, weight: Tensor) -> Tensor:
    """``output`` times ``(B,)`` or ``(1,)`` weights of its rows."""
    return output * weight.to(output.dtype).reshape(-1, *(1,) * (output.dim() - 1))
