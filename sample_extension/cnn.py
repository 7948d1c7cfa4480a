"""Search over convolutional networks, after arXiv:2110.14812, section V-B.

A network is a stem, a chain of stages whose operators are searched, and a linear layer on the mean
over all places.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dnas import CLASSES, Architecture, Choice, Operator, Sample, SearchSpace, SuperNet
from dnas.costs import OperatorKind, register_operator
from dnas.data import TensorData
from dnas.errors import ConfigError
from sample_extension.data import ImageData, Images, read_images

#: What a stage may be; a skip, which is nothing, only where it changes neither channels nor size.
OPERATORS = ("conv5", "conv3", "separable3", "pool", "skip")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The space of networks; every field is a flag."""

    widths: tuple[int, ...] = (16, 16, 32, 32)
    """Channels of each stage. A stage with others than the one before it halves the image."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"--widths must be positive numbers, but got {self.widths}")


class Conv(nn.Sequential):
    """A convolution, a norm and ReLU; of height and width at its output. With a pool it is applied
    to means over 3 x 3 places, and the stride is that of the pool. The norm is over one image: what
    comes of a row must depend on that row alone."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, height: int, width: int,
        stride: int = 1, groups: int = 1, pool: int = 0,
    ) -> None:  # fmt: skip
        sizes = {"inputs": inputs, "outputs": outputs, "kernel": kernel, "height": height}
        sizes |= {"width": width, "stride": stride, "groups": groups, "pool": pool}
        step = 1 if pool else stride
        conv = nn.Conv2d(inputs, outputs, kernel, step, kernel // 2, groups=groups, bias=False)
        means = [nn.AvgPool2d(3, stride, padding=1)] if pool else []
        super().__init__(*means, conv, nn.GroupNorm(1, outputs), nn.ReLU())
        self.operator = Operator.of("sample_conv", **sizes)
        self.flops = 2 * conv.weight.numel() * height * width  # 2 x MACs, of an image
        self.params = conv.weight.numel() + 2 * outputs


def images_for(rows: int, generator: torch.Generator, /, **sizes: int) -> tuple[Tensor]:
    """What a Conv of these sizes is measured on."""
    places = [sizes[name] * sizes["stride"] for name in ("height", "width")]
    return (torch.randn(rows, sizes["inputs"], *places, generator=generator),)


#: For measured costs: `dnas profile sample_extension.cnn:SPACE` runs each Conv of the space.
register_operator(OperatorKind("sample_conv", make=Conv, inputs=images_for))


def operators(i: int, o: int, h: int, w: int, stride: int) -> dict[str, list[Conv]]:
    """What a stage from i to o channels may be, of h x w places at its output."""
    found = {
        "conv5": [Conv(i, o, 5, h, w, stride)],
        "conv3": [Conv(i, o, 3, h, w, stride)],
        "separable3": [Conv(i, i, 3, h, w, stride, groups=i), Conv(i, o, 1, h, w)],
        "pool": [Conv(i, o, 1, h, w, stride, pool=1)],
    }
    return found | ({"skip": []} if stride == 1 else {})


class ConvSuperNet(SuperNet):
    """All networks of the space at once, with shared weights."""

    def __init__(self, config: NetworkConfig, images: Images) -> None:
        super().__init__()
        channels, h, w = config.widths[0], images.height, images.width
        self.first = images.channels, channels, 3, h, w
        self.shapes: list[tuple[int, ...]] = []
        for width in config.widths:
            stride = 1 if width == channels else 2
            h, w = (h - 1) // stride + 1, (w - 1) // stride + 1
            self.shapes.append((channels, width, h, w, stride))
            channels = width
        self.last = channels, images.classes
        self.stem, self.head = Conv(*self.first), self._head()
        self.stages: Sequence[nn.ModuleDict] = nn.ModuleList(  # type: ignore[assignment]
            nn.ModuleDict({name: nn.Sequential(*c) for name, c in operators(*shape).items()})
            for shape in self.shapes
        )
        options = {
            f"stage{number}": [name if name in stage else None for name in OPERATORS]
            for number, stage in enumerate(self.stages, start=1)
        }
        self.choice = Choice("operator", options, columns=OPERATORS, row_title="stage")

    def _head(self) -> nn.Module:
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(*self.last))

    def forward(self, images: Tensor, *, sample: Sample) -> Tensor:
        """Logits (B, classes) of images (B, channels, height, width)."""
        x = self.stem(images)
        for row, stage in enumerate(self.stages):
            if sample.architecture is not None:  # a hard sample: only what it selects is computed
                x = stage[str(sample.architecture[self.choice.keys[row]])](x)
                continue
            found = {name: operator(x) for name, operator in stage.items()}
            absent = torch.zeros_like(next(iter(found.values())))  # whose weight is 0
            outputs = [found.get(name, absent) for name in OPERATORS]
            x = self.calculate_weighted_sum(sample[self.choice][:, row], outputs)
        return self.head(x)

    def _table(self, of: Callable[[list[Any]], Any]) -> list[list[Any]]:
        """What ``of`` says of the Convs of each operator in each stage."""
        rows = [{n: list(chain.children()) for n, chain in s.items()} for s in self.stages]
        return [[of(row.get(name, [])) for name in OPERATORS] for row in rows]

    def option_costs(self) -> dict[str, dict[str, list[list[float]]]]:
        """Of every operator in every stage."""
        flops = self._table(lambda convs: sum(conv.flops for conv in convs))
        params = self._table(lambda convs: sum(conv.params for conv in convs))
        return {"flops": {"operator": flops}, "params": {"operator": params}}

    def fixed_costs(self) -> Mapping[str, float]:
        """Of the stem and of the last layer."""
        stem, (features, classes) = self.stem, self.last
        params = stem.params + (features + 1) * classes
        return {"flops": stem.flops + 2 * features * classes, "params": params}

    def option_operators(self) -> dict[str, list[list[list[Operator]]]]:
        """What each option runs, for measured costs."""
        return {"operator": self._table(lambda convs: [conv.operator for conv in convs])}

    def fixed_operators(self) -> list[Operator]:
        """What every network runs."""
        inputs, outputs = self.last
        return [self.stem.operator, Operator.of("linear", inputs=inputs, outputs=outputs)]

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Sequential:
        """The plain network of an architecture."""
        names = [str(self.validate(architecture)[key]) for key in self.choice.keys]
        pairs = zip(self.shapes, names, strict=True)
        fresh = [nn.Sequential(*operators(*shape)[name]) for shape, name in pairs]
        model = nn.Sequential(Conv(*self.first), *fresh, self._head())
        if inherit_weights:
            own = [stage[name] for stage, name in zip(self.stages, names, strict=True)]
            model.load_state_dict(nn.Sequential(self.stem, *own, self.head).state_dict())
        return model

    def canonical(self, architecture: Architecture) -> Architecture:
        """Skips last among neighbours of one shape: where they are makes no other network."""
        found = dict(architecture)
        for _, run in itertools.groupby(range(len(self.shapes)), self.shapes.__getitem__):
            keys = [self.choice.keys[row] for row in run]
            names = sorted((found[key] for key in keys), key=lambda name: name == "skip")
            found.update(zip(keys, names, strict=True))
        return Architecture(found)


class CNNSpace(SearchSpace):
    """What the scripts need to know."""

    name = "cnn"
    config_class = NetworkConfig
    data_class = ImageData
    spec_class = Images
    task = CLASSES
    default_cost = "flops"

    def prepare(self, data_config: ImageData) -> TensorData:
        """The images, in parts."""
        return read_images(data_config)

    def make_supernet(self, config: NetworkConfig, spec: Images) -> ConvSuperNet:
        """All networks for such images."""
        return ConvSuperNet(config, spec)


SPACE = CNNSpace()
