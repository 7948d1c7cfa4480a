"""Walks through a space: all of it, or architectures that together have every option."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch

from dnas.core import Architecture, Choice, Option, Sample, SuperNet
from dnas.core.sampling import below

#: Spaces up to this many combinations of decisions are walked through completely.
BRUTE_FORCE_LIMIT = 2_000
#: Draws that look for an architecture in which an option has an effect.
_TRIES = 60
#: Architectures to look at, also where fewer have every option.
_FEWEST = 6


def combinations(net: SuperNet) -> int:
    """Number of combinations of options, those without an effect counted too."""
    return math.prod(
        int(count) for choice in net.choices.values() for count in choice.valid.sum(-1).tolist()
    )


def all_architectures(net: SuperNet, sample: Sample) -> Iterator[tuple[float, dict[str, Option]]]:
    """Every combination of options with its probability under a shared sample."""
    axes: list[list[tuple[str, Option, float]]] = []
    for name, choice in net.choices.items():
        weights = sample[name][0].tolist()
        for row, key in enumerate(choice.keys):
            axes.append(
                [
                    (key, option, weights[row][column])
                    for column, option in enumerate(choice.options[row])
                    if option is not None
                ]
            )
    for combination in itertools.product(*axes):
        yield (
            math.prod(weight for _, _, weight in combination),
            {key: option for key, option, _ in combination},
        )


def all_options(net: SuperNet) -> set[tuple[str, Option]]:
    """Every option that exists, with the key of its decision."""
    return {
        (key, option)
        for choice in net.choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
        for option in row
        if option is not None
    }


def covering(net: SuperNet) -> list[Architecture]:
    """Random architectures that together have every option with an effect, and the extremes."""
    generator = torch.Generator().manual_seed(7)
    chosen: dict[str, Architecture] = {}
    seen: set[tuple[str, Option]] = set()

    def take(architecture: Architecture, *, anyway: bool = False) -> None:
        if anyway or set(architecture.items()) - seen:
            chosen[architecture.id] = architecture
            seen.update(architecture.items())

    for pick in (_first_options, _last_options):
        take(net.validate(pick(net.choices)), anyway=True)
    wanted = all_options(net)
    for _ in range(60 + 30 * len(wanted)):
        take(net.random_architecture(generator), anyway=len(chosen) < _FEWEST)
        if len(chosen) >= _FEWEST and wanted <= seen:
            break
    for key, option in sorted(wanted - seen, key=str):
        for _ in range(_TRIES):
            take(net.trim(Architecture({**full_decisions(net, generator), key: option})))
            if (key, option) in seen:
                break
    return list(chosen.values())


def full_decisions(net: SuperNet, generator: torch.Generator) -> dict[str, Option]:
    """A uniform draw of every decision, also of those without an effect."""
    drawn: dict[str, Option] = {}
    for choice in net.choices.values():
        for key, row in zip(choice.keys, choice.options, strict=True):
            present = [option for option in row if option is not None]
            drawn[key] = present[below(len(present), generator)]
    return drawn


def weights_of(net: SuperNet, decisions: dict[str, Option]) -> Sample:
    """One-hot weights of every decision, whether or not it has an effect."""
    return Sample(
        {
            name: choice.one_hot(
                torch.tensor(
                    [choice.index(row, decisions[key]) for row, key in enumerate(choice.keys)]
                )
            )
            for name, choice in net.choices.items()
        }
    )


def _first_options(choices: dict[str, Choice]) -> dict[str, Option]:
    return {
        key: next(option for option in row if option is not None)
        for choice in choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    }


def _last_options(choices: dict[str, Choice]) -> dict[str, Option]:
    return {
        key: next(option for option in reversed(row) if option is not None)
        for choice in choices.values()
        for key, row in zip(choice.keys, choice.options, strict=True)
    }
