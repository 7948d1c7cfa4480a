"""Seeds: one number from the user, independent streams for everything that is random."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import torch


def derive_seed(seed: int, *purpose: object) -> int:
    """A 63-bit seed for one purpose, the same in every process and on every machine.

    Streams for different purposes do not overlap, so that one more validation, say, changes no
    training batch.
    """
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def make_generator(device: torch.device, seed: int, *purpose: object) -> torch.Generator:
    """A generator on ``device`` for one purpose."""
    generator = torch.Generator(device=device)
    generator.manual_seed(derive_seed(seed, *purpose))
    return generator


def seed_everything(seed: int) -> None:
    """Seed the global generators, which initialisation and dropout use."""
    random.seed(seed)
    np.random.seed(derive_seed(seed, "numpy") % 2**32)
    torch.manual_seed(derive_seed(seed, "torch"))
