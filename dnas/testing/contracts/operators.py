"""Contracts 2 and 3 of operators, for supernets that say which ones their built models run."""

from __future__ import annotations

import torch

from dnas.core import Operator, Sample, SuperNet
from dnas.errors import DnasError
from dnas.testing.contracts.given import MakeBatch, MakeSuperNet, perturbed
from dnas.testing.contracts.means import check_mean, soft_in_float64
from dnas.testing.contracts.walking import covering


def check_operators(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Counts are whole at a one-hot sample, and their expectation is the mean of those.

    A supernet that knows the operators of single architectures only refuses soft samples with a
    ``DnasError``; then there is no expectation to check.
    """
    net = perturbed(make_supernet(), theta=True).double()
    sample = soft_in_float64(net)
    known: set[Operator] | None
    try:
        known = set(_counts(net, sample))
    except DnasError:
        known = None
    for architecture in covering(net):
        counts = _counts(net, net.one_hot_sample(architecture, torch.float64))
        assert known is None or set(counts) == known, (
            f"contract 3: {sorted(map(str, set(counts) ^ known))[:3]} are listed under one sample "
            "and not under another; operator_terms lists all operators of the space always"
        )
        for operator, count in counts.items():
            assert count == max(round(count), 0), (
                f"contract 2: {operator} runs {count} times in {architecture}; at a one-hot "
                "sample counts are whole numbers"
            )
    if known:
        check_mean(net, sample, lambda given: _counts(net, given))


def _counts(net: SuperNet, sample: Sample) -> dict[Operator, float]:
    with torch.no_grad():
        return {o: float(c) for o, c in net.operator_terms(sample).by_operator().items()}
