"""Contracts 2 and 3: costs are what is counted, and expected costs are their mean."""

from __future__ import annotations

import math

import torch

from dnas.core import Sample, SuperNet
from dnas.core.sampling import below
from dnas.costs import count_flops, count_params
from dnas.testing.contracts.given import ROWS, MakeBatch, MakeSuperNet, inputs_of, perturbed
from dnas.testing.contracts.walking import (
    BRUTE_FORCE_LIMIT,
    all_architectures,
    combinations,
    covering,
)


def check_costs_are_exact(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Costs of an architecture are what is counted on the built module."""
    net = make_supernet()
    inputs = inputs_of(make_batch)
    for architecture in covering(net):
        cost = net.cost(architecture)
        sample = net.one_hot_sample(architecture, torch.float64)
        expected = {name: float(value) for name, value in net.expected_cost(sample).items()}
        assert cost == expected, (
            f"contract 2: cost({architecture}) is {cost}, expected_cost at its one-hot sample is "
            f"{expected}; do not override one without the other"
        )
        model = net.build(architecture)
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
    found = {name: float(value) for name, value in net.expected_cost(sample).items()}
    assert found, "contract 2: expected_cost gives no cost; state at least params or flops"
    if combinations(net) <= BRUTE_FORCE_LIMIT:
        mean = dict.fromkeys(found, 0.0)
        for probability, architecture in all_architectures(net, sample):
            for name, value in net.cost(architecture).items():
                mean[name] += probability * value
        for name, value in found.items():
            assert math.isclose(value, mean[name], rel_tol=1e-6, abs_tol=1e-9), (
                f"contract 3: expected_cost gives {name} = {value}, the mean over all "
                f"architectures under the same sample is {mean[name]}; {_WHY}"
            )
    else:
        _check_each_decision(net, sample)
    _check_rows(net)
    _check_cost_gradient(net, sample)


_WHY = "a branch may be forgotten, or decisions that depend on each other be treated as independent"


def soft_in_float64(net: SuperNet) -> Sample:
    """A shared soft sample without a gradient."""
    soft = net.soft_sample(0.7, 1, torch.Generator().manual_seed(5))
    return Sample({name: weights.detach().double() for name, weights in soft.weights.items()})


def _check_each_decision(net: SuperNet, sample: Sample) -> None:
    """In a large space: fix one decision after the other, each time comparing the mean.

    If at every stage the cost is the mean over the options of the next decision, and in the end
    that of an architecture, then it was the mean over all architectures in the beginning.
    """
    generator = torch.Generator().manual_seed(31)
    weights = {name: w.clone() for name, w in sample.weights.items()}
    number, each = 0, math.ceil(sum(len(c.keys) for c in net.choices.values()) / _MOST_COMPARED)
    for name, choice in net.choices.items():
        for row, key in enumerate(choice.keys):
            own = weights[name][0, row].clone()
            columns = [c for c, option in enumerate(choice.options[row]) if option is not None]
            taken = columns[below(len(columns), generator)]
            weights[name][0, row] = torch.eye(len(own), dtype=own.dtype)[taken]
            number += 1
            if number % each == 0:
                _check_mean(net, weights, name, row, own)


def _check_mean(
    net: SuperNet, fixed: dict[str, torch.Tensor], name: str, row: int, own: torch.Tensor
) -> None:
    """Under the weights ``own`` of a decision the cost is the mean over its options."""
    choice = net.choices[name]

    def costs(of_row: torch.Tensor) -> dict[str, float]:
        changed = fixed[name].clone()
        changed[0, row] = of_row
        found = net.expected_cost(Sample({**fixed, name: changed}))
        return {cost: float(value) for cost, value in found.items()}

    expected = costs(own)
    mean = dict.fromkeys(expected, 0.0)
    for column, unit in enumerate(torch.eye(len(own), dtype=own.dtype)):
        if choice.options[row][column] is not None:
            for cost, value in costs(unit).items():
                mean[cost] += float(own[column]) * value
    for cost, value in expected.items():
        assert math.isclose(value, mean[cost], rel_tol=1e-6, abs_tol=1e-9), (
            f"contract 3: expected_cost gives {cost} = {value}, the mean over the options of "
            f"{choice.keys[row]} under the same sample is {mean[cost]}; {_WHY}"
        )


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
