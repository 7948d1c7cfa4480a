"""Contract 3: what is expected under a soft sample is the mean over architectures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from dnas.core import Sample, SuperNet
from dnas.core.sampling import below
from dnas.testing.contracts.walking import BRUTE_FORCE_LIMIT, all_architectures, combinations

#: Numbers by name under a shared sample.
Numbers = Callable[[Sample], Mapping[Any, float]]

#: In a large space, decisions that are compared one by one.
_MOST_COMPARED = 12
_WHY = "a branch may be forgotten, or decisions that depend on each other be treated as independent"


def soft_in_float64(net: SuperNet) -> Sample:
    """A shared soft sample without a gradient."""
    soft = net.soft_sample(0.7, 1, torch.Generator().manual_seed(5))
    return Sample({name: weights.detach().double() for name, weights in soft.weights.items()})


def check_mean(net: SuperNet, sample: Sample, numbers: Numbers) -> None:
    """``numbers`` under a shared soft sample are their mean over all architectures.

    In a large space decisions are fixed one after the other, and numbers compared with their mean
    over the options of the next one: if they agree at every stage, down to an architecture, then
    they are the mean over all architectures.
    """
    if combinations(net) > BRUTE_FORCE_LIMIT:
        _check_each_decision(net, sample, numbers)
        return
    found = numbers(sample)
    mean = dict.fromkeys(found, 0.0)
    for probability, decisions in all_architectures(net, sample):
        for name, value in numbers(net.one_hot_sample(decisions, torch.float64)).items():
            assert name in mean, (
                f"contract 3: {name} is there for {decisions} but missing under a soft sample; "
                "give all names under every sample"
            )
            mean[name] += probability * value
    for name, value in found.items():
        assert _close(value, mean[name]), (
            f"contract 3: under a soft sample {name} is {value}, its mean over all architectures "
            f"{mean[name]}; {_WHY}"
        )


def _check_each_decision(net: SuperNet, sample: Sample, numbers: Numbers) -> None:
    generator = torch.Generator().manual_seed(31)
    weights = {name: w.clone() for name, w in sample.weights.items()}
    number, each = 0, math.ceil(sum(len(c.keys) for c in net.choices.values()) / _MOST_COMPARED)
    for name, choice in net.choices.items():
        for row, options in enumerate(choice.options):
            own = weights[name][0, row].clone()
            number += 1
            if number % each == 0:
                _check_decision(net, weights, name, row, numbers)
            columns = [c for c, option in enumerate(options) if option is not None]
            taken = columns[below(len(columns), generator)]
            weights[name][0, row] = torch.eye(len(own), dtype=own.dtype)[taken]


def _check_decision(
    net: SuperNet, fixed: Mapping[str, Tensor], name: str, row: int, numbers: Numbers
) -> None:
    choice, own = net.choices[name], fixed[name][0, row]
    found = numbers(Sample(fixed))
    mean = dict.fromkeys(found, 0.0)
    for column, unit in enumerate(torch.eye(len(own), dtype=own.dtype)):
        if choice.options[row][column] is not None:
            changed = fixed[name].clone()
            changed[0, row] = unit
            for number, value in numbers(Sample({**fixed, name: changed})).items():
                mean[number] += float(own[column]) * value
    for number, value in found.items():
        assert _close(value, mean[number]), (
            f"contract 3: under a soft sample {number} is {value}, its mean over the options of "
            f"{choice.keys[row]} {mean[number]}; {_WHY}"
        )


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-6, abs_tol=1e-9)
