"""What operators are made of: linears and layer norms, as weights with a place in the supernet.

A network has weights of its own sizes; the supernet has those of the largest network. The weights
of a network *are* parts of the supernet's, so running a network inside the supernet costs what the
network costs, and gives the same numbers: normalisation is over the chosen width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core import Operator as Work
from supernets.nasrec.shape import Ranges, size

#: Weights by name.
Weights = Mapping[str, Tensor]

LAYER_NORM_EPS = 1e-5
#: Parts of an axis above which they are gathered by index and not one by one.
_MOST_PARTS = 16
#: fvcore's price of an affine layer norm, for each element.
NORM_OPERATIONS = 5


@dataclass(frozen=True)
class Weight:
    """One tensor of a network and its place in the supernet's tensor of the same name.

    Attributes:
        name: Of the tensor.
        ranges: For each axis the parts that the network uses.
        fill: Initial value; None: Xavier uniform.
    """

    name: str
    ranges: tuple[Ranges, ...]
    fill: float | None = None

    @cached_property
    def merged(self) -> tuple[Ranges, ...]:
        """``ranges`` with adjoining parts as one."""
        return tuple(merged(axis) for axis in self.ranges)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the network's tensor."""
        return tuple(size(axis) for axis in self.ranges)

    def init(self) -> Tensor:
        """A fresh tensor."""
        if self.fill is not None:
            return torch.full(self.shape, self.fill)
        tensor = torch.empty(self.shape)
        if tensor.numel():
            nn.init.xavier_uniform_(tensor)
        return tensor

    def take(self, whole: Tensor) -> Tensor:
        """The network's tensor out of the supernet's; a view where the parts adjoin."""
        for axis, parts in enumerate(self.merged):
            if len(parts) == 1:
                whole = _narrow(whole, axis, *parts[0])
            elif len(parts) <= _MOST_PARTS:
                whole = torch.cat([whole.narrow(axis, *part) for part in parts or ((0, 0),)], axis)
            else:
                whole = whole.index_select(axis, _places(parts, whole.device))
        return whole

    def parts(self, mine: Tensor, *wholes: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """Views of the same weights in the network's tensor, and in the supernet's (or like it)."""
        pairs = [(mine, *wholes)]
        for axis, ranges in enumerate(self.merged):
            cut: list[tuple[Tensor, ...]] = []
            for inner, *outer in pairs:
                begin = 0
                for start, length in ranges:
                    views = (_narrow(tensor, axis, start, length) for tensor in outer)
                    cut.append((_narrow(inner, axis, begin, length), *views))
                    begin += length
            pairs = cut
        yield from pairs


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # whoever asks first, training may ask next
def _places(parts: Ranges, device: torch.device) -> Tensor:
    """Kept, so that a GPU is not waited for again."""
    places = [torch.arange(start, start + length) for start, length in parts]
    return torch.cat(places).to(device)


def _narrow(tensor: Tensor, axis: int, start: int, length: int) -> Tensor:
    """Part of an axis; the tensor itself where that is all of it."""
    return tensor if length == tensor.shape[axis] else tensor.narrow(axis, start, length)


def merged(ranges: Ranges) -> Ranges:
    """The same places with adjoining parts as one, and without empty ones."""
    result: list[tuple[int, int]] = []
    for start, length in ranges:
        if length and result and start == sum(result[-1]):
            result[-1] = (result[-1][0], result[-1][1] + length)
        elif length:
            result.append((start, length))
    return tuple(result)


@dataclass(frozen=True)
class Linear:
    """``x @ weight.T + bias`` on the last axis.

    Attributes:
        name: Of its weights, a prefix.
        rows: Outputs.
        columns: Inputs.
        bias: Whether there is one.
        times: How often it is applied for one row of the batch: e on sparse inputs.
    """

    name: str
    rows: Ranges
    columns: Ranges
    bias: bool
    times: int = 1

    def weights(self) -> Iterator[Weight]:
        """Its tensors."""
        yield Weight(f"{self.name}.weight", (self.rows, self.columns))
        if self.bias:
            yield Weight(f"{self.name}.bias", (self.rows,), fill=0.0)

    def macs(self) -> int:
        """Multiplications and additions for one row of the batch."""
        return size(self.rows) * size(self.columns) * self.times

    def work(self) -> Work:
        """What is run, to be measured."""
        sizes = {"inputs": size(self.columns), "outputs": size(self.rows), "vectors": self.times}
        return Work.of("nasrec_linear", bias=self.bias, **sizes)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{self.name}.weight"], weights.get(f"{self.name}.bias"))


@dataclass(frozen=True)
class Norm:
    """Layer norm of the last axis.

    Attributes:
        name: Of its weights, a prefix.
        axis: The normalised width.
        times: How often it is applied for one row of the batch.
        scale: Initial value of its weight.
    """

    name: str
    axis: Ranges
    times: int = 1
    scale: float = 1.0

    def weights(self) -> Iterator[Weight]:
        """Its tensors."""
        yield Weight(f"{self.name}.weight", (self.axis,), fill=self.scale)
        yield Weight(f"{self.name}.bias", (self.axis,), fill=0.0)

    def operations(self) -> int:
        """Operations for one row of the batch, as fvcore counts them."""
        return NORM_OPERATIONS * size(self.axis) * self.times

    def work(self) -> Work:
        """What is run, to be measured."""
        return Work.of("layer_norm", width=size(self.axis), vectors=self.times)

    def __call__(self, weights: Weights, x: Tensor) -> Tensor:
        weight, bias = weights[f"{self.name}.weight"], weights[f"{self.name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, LAYER_NORM_EPS)


Layer = Linear | Norm


def layer_weights(layers: Iterable[Layer]) -> Iterator[Weight]:
    """All tensors of some layers."""
    for layer in layers:
        yield from layer.weights()
