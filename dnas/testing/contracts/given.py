"""What a contract is given: a supernet, inputs, and weights away from where they start."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dnas.core import Sample, SuperNet
from dnas.data.batch import TensorBatch

MakeSuperNet = Callable[[], SuperNet]
#: Number of rows -> the inputs of ``forward`` as a tuple, or a batch with ``inputs``.
MakeBatch = Callable[[int], Any]

ROWS = 6


class FixedBatch(TensorBatch):
    """Inputs of any kind, Bags among them, with labels."""

    def to(self, device: torch.device) -> FixedBatch:
        return self


def inputs_of(make_batch: MakeBatch, rows: int = ROWS) -> tuple[Any, ...]:
    """The positional arguments of ``forward`` for a number of rows.

    Raises:
        TypeError: ``make_batch`` gives neither a tuple nor a batch.
    """
    given = make_batch(rows)
    if isinstance(given, Tensor):
        return (given,)
    inputs = getattr(given, "inputs", given)
    if not isinstance(inputs, tuple | list):
        raise TypeError(
            f"make_batch({rows}) gave a {type(given).__name__}; return the tuple of forward's "
            "inputs, or a batch that has them as `inputs` (dnas.data.TensorBatch)"
        )
    return tuple(inputs)


def perturbed(net: SuperNet, *, theta: bool = False, seed: int = 23) -> SuperNet:
    """``net`` with weights that are nowhere zero, and theta away from uniform if asked for."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.weight_parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        if theta:
            for parameter in net.architecture_parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net


def run(net: SuperNet, inputs: tuple[Any, ...], sample: Sample) -> Tensor:
    """``forward``, with the same dropout whenever it is called."""
    torch.manual_seed(29)
    return one_tensor(net(*inputs, sample=sample), "forward")


def one_tensor(output: Any, what: str) -> Tensor:
    """``output``, which must be what a loss is given."""
    assert isinstance(output, Tensor), (
        f"contract 1: {what} gives a {type(output).__name__}; return one tensor of outputs "
        "(torch.stack or torch.cat several, and take them apart in the loss)"
    )
    return output
