"""Images with classes: scikit-learn's digits, or noise of any size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from dnas.data import TensorData
from dnas.errors import ConfigError


@dataclass(frozen=True)
class Images:
    """What a network must know of its images; sizes in pixels."""

    channels: int
    height: int
    width: int
    classes: int


@dataclass(frozen=True, kw_only=True)
class ImageData:
    """Which images, and how they are divided; every field is a flag."""

    data: Literal["digits", "random"] = "digits"
    """digits: 1797 scans of 8 x 8, 10 classes, from scikit-learn. random: noise of 5 random
    classes, from which nothing can be learned: for measuring speed."""
    train_fraction: float = 0.6
    """Share of the images that train; validation and test get half of the rest each."""
    data_seed: int = 1
    """Of the division, and of random images."""
    random_sizes: tuple[int, int, int, int] = (10_000, 3, 50, 50)
    """Number, channels, height and width of random images."""


def read_images(config: ImageData) -> TensorData:
    """The images (n, channels, height, width) and their classes, in parts."""
    generator = torch.Generator().manual_seed(config.data_seed)
    if config.data == "random":
        images, classes = torch.randn(config.random_sizes, generator=generator), 5
        labels = torch.randint(classes, images.shape[:1], generator=generator)
    else:
        try:
            from sklearn.datasets import load_digits
        except ImportError:
            raise ConfigError(
                "--data=digits needs scikit-learn: pip install scikit-learn, or use --data=random"
            ) from None
        found, classes = load_digits(), 10
        images = torch.tensor(found.images / 16.0, dtype=torch.float32).unsqueeze(1)
        labels = torch.tensor(found.target, dtype=torch.int64)
    share = (1 - config.train_fraction) / 2
    parts = {"train": config.train_fraction, "validation": share, "test": share}
    _, channels, height, width = images.shape
    spec = Images(channels, height, width, classes)
    seed, name = config.data_seed, config.data
    return TensorData((images,), labels, parts, spec=spec, seed=seed, name=name)
