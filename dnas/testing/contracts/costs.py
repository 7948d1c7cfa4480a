"""Contracts 2 and 3: costs are what is counted, and expected costs are their mean."""

from __future__ import annotations

import math

import torch

from dnas.core import Sample, SuperNet
from dnas.costs import count_flops, count_params
from dnas.testing.contracts.given import ROWS, MakeBatch, MakeSuperNet, inputs_of, perturbed
from dnas.testing.contracts.making import built
from dnas.testing.contracts.means import check_mean, soft_in_float64
from dnas.testing.contracts.walking import covering


def check_costs_are_exact(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Costs of an architecture are what is counted on the built module."""
    net = make_supernet()
    inputs = inputs_of(make_batch)
    for architecture in covering(net):
        cost = net.cost(architecture)
        sample = net.one_hot_sample(architecture, torch.float64)
        expected = _numbers(net, sample)
        assert cost == expected, (
            f"contract 2: cost({architecture}) is {cost}, expected_cost at its one-hot sample is "
            f"{expected}; do not override one without the other"
        )
        model = built(net, architecture)
        if "params" in cost:
            counted = count_params(model)
            assert cost["params"] == counted, (
                f"contract 2: cost says {cost['params']:.0f} params, the model built for "
                f"{architecture} has {counted}; check option_costs and fixed_costs for a part that "
                "is missing or counted twice"
            )
        if "flops" in cost:
            flops = count_flops(model, inputs, ROWS)
            assert math.isclose(cost["flops"], flops, rel_tol=1e-9), (
                f"contract 2: cost says {cost['flops']:.0f} FLOPs (2 x MACs) a row, "
                f"torch.utils.flop_counter counts {flops:.0f} on the model built for {architecture}"
            )


def check_expected_cost(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Expected cost is the mean over all architectures, and its gradient is right."""
    net = perturbed(make_supernet(), theta=True).double()
    sample = soft_in_float64(net)
    assert net.expected_cost(sample), (
        "contract 2: expected_cost gives no cost; state at least params or flops"
    )
    check_mean(net, sample, lambda given: _numbers(net, given))
    _check_rows(net)
    _check_cost_gradient(net, sample)


def _numbers(net: SuperNet, sample: Sample) -> dict[str, float]:
    return {name: float(value) for name, value in net.expected_cost(sample).items()}


def _check_rows(net: SuperNet) -> None:
    """Each row has the cost of its own sample."""
    sample = net.soft_sample(0.7, ROWS, torch.Generator().manual_seed(5))
    alone = Sample({name: weights[2:3] for name, weights in sample.weights.items()})
    of_row = net.expected_cost(alone)
    for cost, value in net.expected_cost(sample).items():
        assert value.shape == (ROWS,), (
            f"contract 3: expected_cost gives {cost} with shape {tuple(value.shape)} for a sample "
            f"of {ROWS} rows; give ({ROWS},), the cost of each row's sample"
        )
        assert torch.allclose(value[2], of_row[cost][0], rtol=1e-4), (
            f"contract 3: the {cost} of a row changes with the samples of other rows; do not "
            "average over the batch"
        )


def _check_cost_gradient(net: SuperNet, sample: Sample) -> None:
    leaves = {name: w.detach().clone().requires_grad_() for name, w in sample.weights.items()}
    for cost, value in net.expected_cost(Sample(leaves)).items():
        # A cost that no decision changes (rows where only dimensions are searched) has no
        # gradient; the finite differences below must then be 0 too.
        gradients = (
            torch.autograd.grad(
                value.sum(), list(leaves.values()), allow_unused=True, retain_graph=True
            )
            if value.requires_grad
            else (None,) * len(leaves)
        )
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            flat = leaf.detach().flatten()
            for position in range(0, flat.numel(), max(flat.numel() // 5, 1)):
                step = 1e-4
                values = []
                for sign in (1, -1):
                    moved = flat.clone()
                    moved[position] += sign * step
                    changed = {**leaves, name: moved.view_as(leaf)}
                    values.append(float(net.expected_cost(Sample(changed))[cost].sum().detach()))
                numeric = (values[0] - values[1]) / (2 * step)
                exact = 0.0 if gradient is None else float(gradient.flatten()[position])
                assert math.isclose(numeric, exact, rel_tol=1e-3, abs_tol=1e-3 * abs(values[0])), (
                    f"contract 3: d {cost} / d sample[{name!r}] is {exact} by autograd and "
                    f"{numeric} by finite differences; do not detach or convert to float on the way"
                )
