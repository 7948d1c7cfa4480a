"""Contracts 2 and 3 of operators, for supernets that say which ones their built models run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import torch

from dnas.core import Architecture, Operator, Sample, SuperNet
from dnas.costs.kinds import completed, known_kinds
from dnas.costs.work import count_work
from dnas.errors import CostError, DnasError
from dnas.testing.contracts.given import ROWS, MakeBatch, MakeSuperNet, perturbed
from dnas.testing.contracts.means import check_mean, soft_in_float64
from dnas.testing.contracts.walking import covering


def check_operators(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Counts are whole at a one-hot sample, and their expectation is the mean of those.

    Their kinds are registered. Where their FLOPs can be counted, these add up to the cost
    ``flops``: none that costs FLOPs is forgotten. Operators without any, like lookups and
    activations, may be missing, and what a built model runs is not looked at. A supernet that knows
    the operators of single architectures only refuses soft samples with a ``DnasError``; then there
    is no expectation to check.
    """
    net = perturbed(make_supernet(), theta=True).double()
    try:
        operators = net.operators()
    except CostError:
        return  # a supernet in the tree says nothing: there are no measured costs
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
        _check_flops(net, architecture, counts)
    if known:
        check_mean(net, sample, lambda given: _counts(net, given))
    unknown = [o for o in operators if o.kind not in known_kinds()]
    assert not unknown, (
        f"contract 2: {unknown[0]} is of the kind {unknown[0].kind!r}, which nobody registered, so "
        "it cannot be measured, nor its FLOPs be compared with the costs; correct the name or call "
        "dnas.costs.register_operator where the search space is defined; known kinds are "
        f"{', '.join(known_kinds())}"
    )


def _check_flops(
    net: SuperNet, architecture: Architecture, counts: Mapping[Operator, float]
) -> None:
    known = set(known_kinds())
    cost = net.cost(architecture).get("flops")
    if cost is None or not counts or any(operator.kind not in known for operator in counts):
        return
    work = {operator: _flops(operator) for operator, count in counts.items() if count}
    if any(flops is None for flops in work.values()):
        return
    total = sum(counts[operator] * (flops or 0.0) for operator, flops in work.items())
    assert math.isclose(total, cost, rel_tol=1e-6, abs_tol=1e-6), (
        f"contract 2: the operators of {architecture} do {total:.0f} FLOPs a row, but it costs "
        f"{cost:.0f}; option_operators and fixed_operators forget one, or have one too many: "
        f"{', '.join(f'{count:.0f} x {operator}' for operator, count in counts.items() if count)}"
    )


@lru_cache(maxsize=4096)
def _flops(operator: Operator) -> float | None:
    """Of one run for one row; None where they cannot be counted without running it."""
    work = count_work(completed(operator), ROWS)
    return None if work is None else work[0] / ROWS


def _counts(net: SuperNet, sample: Sample) -> dict[Operator, float]:
    with torch.no_grad():
        return {o: float(c) for o, c in net.operator_terms(sample).by_operator().items()}
