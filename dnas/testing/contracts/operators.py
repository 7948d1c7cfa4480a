"""Contracts 2 and 3 of operators, for supernets that say which ones their built models run."""

from __future__ import annotations

import math

import torch

from dnas.core import Operator, Sample, SuperNet
from dnas.testing.contracts.costs import soft_in_float64
from dnas.testing.contracts.given import MakeBatch, MakeSuperNet, perturbed
from dnas.testing.contracts.walking import (
    BRUTE_FORCE_LIMIT,
    all_architectures,
    combinations,
    covering,
)


def check_operators(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Counts are whole at a one-hot sample, and their expectation is the mean of those."""
    net = perturbed(make_supernet(), theta=True).double()
    if not _counts(net, soft_in_float64(net)):
        return
    for architecture in covering(net):
        for operator, count in _counts_of(net, architecture).items():
            assert count in range(round(count) + 1), (
                f"contract 2: {operator} runs {count} times in {architecture}; at a one-hot "
                "sample counts are whole numbers"
            )
    sample = soft_in_float64(net)
    found = _counts(net, sample)
    if combinations(net) > BRUTE_FORCE_LIMIT:
        return
    mean = dict.fromkeys(found, 0.0)
    for probability, decisions in all_architectures(net, sample):
        for operator, count in _counts_of(net, decisions).items():
            assert operator in mean, (
                f"contract 3: {operator} is run by {decisions} but missing under a soft sample; "
                "operator_terms lists all operators of the space under every sample"
            )
            mean[operator] += probability * count
    for operator, count in found.items():
        assert math.isclose(count, mean[operator], rel_tol=1e-6, abs_tol=1e-9), (
            f"contract 3: {operator} is expected {count} times, the mean over all architectures "
            f"under the same sample is {mean[operator]}; a branch may be forgotten, or decisions "
            "that depend on each other be treated as independent"
        )


def _counts_of(net: SuperNet, decisions: object) -> dict[Operator, float]:
    return _counts(net, net.one_hot_sample(decisions, torch.float64))  # type: ignore[arg-type]


def _counts(net: SuperNet, sample: Sample) -> dict[Operator, float]:
    with torch.no_grad():
        return {o: float(c) for o, c in net.operator_terms(sample).by_operator().items()}
