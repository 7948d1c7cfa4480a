"""Search over convolutional networks, after arXiv:2110.14812, section V-B.

A network is a stem, a chain of stages whose operators are searched, and a linear layer on the mean
over all places.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dnas import CLASSES, Architecture, Choice, Sample, SearchSpace, SuperNet
from dnas.data import TensorData
from dnas.errors import ConfigError
from sample_extension.data import ImageData, Images, read_images

#: What a stage may be; skip, which is nothing, only where it changes neither channels nor size.
OPERATORS = ("conv5", "conv3", "separable3", "pool", "skip")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The space of networks; every field is a flag."""

    widths: tuple[int, ...] = (16, 16, 32, 32)
    """Channels of each stage. A stage with others than the one before it halves the image."""

    def __post_init__(self) -> None:
        if not self.widths or min(self.widths) < 1:
            raise ConfigError(f"--widths must be positive numbers, but got {self.widths}")


@dataclass(frozen=True)
class Conv:
    """A convolution without bias, a norm and ReLU; ``size`` is height and width of the output."""

    inputs: int
    outputs: int
    kernel: int
    size: tuple[int, int]
    stride: int = 1
    groups: int = 1

    def costs(self) -> dict[str, int]:
        """FLOPs of an image (2 x MACs), and parameters."""
        weights = self.kernel**2 * self.inputs // self.groups * self.outputs
        flops = 2 * weights * self.size[0] * self.size[1]
        return {"flops": flops, "params": weights + 2 * self.outputs}

    def module(self) -> nn.Module:
        """The norm is over one image: what comes of a row must depend on that row alone."""
        i, o, k, s, g = self.inputs, self.outputs, self.kernel, self.stride, self.groups
        conv = nn.Conv2d(i, o, k, stride=s, padding=k // 2, groups=g, bias=False)
        return nn.Sequential(conv, nn.GroupNorm(1, self.outputs), nn.ReLU())


@dataclass(frozen=True)
class Stage:
    """What all operators of a stage have in common; ``size`` as in Conv."""

    inputs: int
    outputs: int
    size: tuple[int, int]
    stride: int

    def convs(self, operator: str) -> list[Conv]:
        """The convolutions of an operator, in their order."""
        i, o, size, stride = self.inputs, self.outputs, self.size, self.stride
        return {
            "conv5": [Conv(i, o, 5, size, stride)],
            "conv3": [Conv(i, o, 3, size, stride)],
            "separable3": [Conv(i, i, 3, size, stride, groups=i), Conv(i, o, 1, size)],
            "pool": [Conv(i, o, 1, size)],
            "skip": [],
        }[operator]

    def module(self, operator: str) -> nn.Module:
        """The operator, freshly initialised."""
        pool = [nn.AvgPool2d(3, self.stride, padding=1)] if operator == "pool" else []
        return nn.Sequential(*pool, *(conv.module() for conv in self.convs(operator)))


class ConvSuperNet(SuperNet):
    """All networks of the space at once, with shared weights."""

    def __init__(self, config: NetworkConfig, images: Images) -> None:
        super().__init__()
        width, size = config.widths[0], (images.height, images.width)
        self.first = Conv(images.channels, width, 3, size)
        self.plan: list[Stage] = []
        for outputs in config.widths:
            stride = 1 if outputs == width else 2
            size = ((size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1)
            self.plan.append(Stage(width, outputs, size, stride))
            width = outputs
        self.last = width, images.classes
        options = {
            f"stage{number}": OPERATORS if stage.stride == 1 else (*OPERATORS[:-1], None)
            for number, stage in enumerate(self.plan, start=1)
        }
        titles = {"row_title": "stage", "column_title": "operator"}
        self.choice = Choice("operator", options, columns=OPERATORS, **titles)
        self.stem, self.head = self.first.module(), self._head()
        self.stages: Sequence[nn.ModuleDict] = nn.ModuleList(  # type: ignore[assignment]
            nn.ModuleDict({name: stage.module(name) for name in row if name is not None})
            for stage, row in zip(self.plan, options.values(), strict=True)
        )

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

    def option_costs(self) -> dict[str, dict[str, list[list[float]]]]:
        """Of every operator in every stage."""
        convs = [[stage.convs(name) for name in OPERATORS] for stage in self.plan]
        return {
            cost: {"operator": [[sum(c.costs()[cost] for c in o) for o in row] for row in convs]}
            for cost in self.first.costs()
        }

    def fixed_costs(self) -> Mapping[str, float]:
        """Of the stem and of the last layer."""
        stem, (features, classes) = self.first.costs(), self.last
        flops = stem["flops"] + 2 * features * classes
        return {"flops": flops, "params": stem["params"] + (features + 1) * classes}

    def build(self, architecture: Architecture, *, inherit_weights: bool = False) -> nn.Sequential:
        """The plain network of an architecture."""
        names = [str(self.validate(architecture)[key]) for key in self.choice.keys]
        if inherit_weights:
            parts = [stage[name] for stage, name in zip(self.stages, names, strict=True)]
            return copy.deepcopy(nn.Sequential(self.stem, *parts, self.head))
        fresh = [stage.module(name) for stage, name in zip(self.plan, names, strict=True)]
        return nn.Sequential(self.first.module(), *fresh, self._head())

    def canonical(self, architecture: Architecture) -> Architecture:
        """Skips last among neighbours of one shape: where they are makes no other network."""
        found = dict(architecture)
        rows = range(len(self.plan))
        for _, run in itertools.groupby(rows, lambda row: self.plan[row]):
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
