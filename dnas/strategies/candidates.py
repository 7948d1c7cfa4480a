"""Distinct random candidates of a search space."""

from __future__ import annotations

import torch

from dnas.core import Architecture, Prior, SuperNet
from dnas.errors import ConfigError

#: Draws in a row that give nothing new before a space counts as exhausted.
_MOST_REPEATS = 1000


def distinct_candidates(
    prior: Prior, super_net: SuperNet, count: int, generator: torch.Generator
) -> list[Architecture]:
    """The first ``count`` candidates of ``prior`` that are different networks.

    Args:
        prior: Where candidates come from.
        super_net: Says which architectures are the same network (``canonical``).
        count: How many.
        generator: On the CPU.

    Raises:
        ConfigError: The space has fewer, or so many that are rare.
    """
    found: dict[str, Architecture] = {}
    repeats = 0
    while len(found) < count:
        candidate = prior.candidate(generator)
        known = found.setdefault(super_net.canonical(candidate).id, candidate)
        repeats = 0 if known is candidate else repeats + 1
        if repeats > _MOST_REPEATS:
            raise ConfigError(
                f"{count} different architectures were asked for, but {_MOST_REPEATS} draws in a "
                f"row gave none beyond the first {len(found)}; the space is too small: ask for "
                "fewer"
            )
    return list(found.values())
