"""A layer of FC-of-FC against its definition: every edge for itself, every sum written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from supernets.edge_layer import EdgeLayer, LayerPlan

ROWS = 7
PLANS = {
    "middle": LayerPlan((2, 3, 5), (3, 5, 4), skippable=True),
    "first": LayerPlan((6,), (2, 3), skippable=False),
    "first, skippable": LayerPlan((3,), (2, 3), skippable=True),
    "last": LayerPlan((2, 3), (1,), skippable=False),
}


def naive(
    layer: EdgeLayer, nodes: list[Tensor], weights: Tensor | None, activate: bool
) -> list[Tensor]:
    """``out_o = sum_i m[o, i] act(W_oi x_i + b_oi) + m[o, skip] x_src(o)``."""
    plan = layer.plan
    outputs = []
    for o, width in enumerate(plan.outputs):
        total = torch.zeros(ROWS, width, dtype=nodes[0].dtype)
        for i, x in enumerate(nodes):
            weight, bias = layer.edge(plan.inputs[i], width)
            edge = F.linear(x, weight, bias)
            edge = edge.relu() if activate else edge
            total = total + (edge if weights is None else weights[:, o, i : i + 1] * edge)
        source = plan.skip_source(o)
        if source is not None and weights is not None:
            total = total + weights[:, o, -1:] * nodes[source]
        outputs.append(total)
    return outputs


def make(
    plan: LayerPlan, rows: int, dtype: torch.dtype
) -> tuple[EdgeLayer, list[Tensor], Tensor | None]:
    torch.manual_seed(4)
    layer = EdgeLayer(plan).to(dtype)
    nodes = [torch.randn(ROWS, width, dtype=dtype).requires_grad_() for width in plan.inputs]
    if len(plan.inputs) == 1 and not plan.skippable:
        return layer, nodes, None
    weights = torch.rand(rows, len(plan.outputs), len(plan.inputs) + 1, dtype=dtype)
    return layer, nodes, weights.requires_grad_()


def gradients(outputs: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
    loss = sum((out * out.detach().cos()).sum() for out in outputs)
    return list(torch.autograd.grad(loss, inputs))


@pytest.mark.parametrize("activate", [True, False])
@pytest.mark.parametrize("rows", [ROWS, 1])
@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_values_and_gradients_are_those_of_the_definition(name, rows, activate, dtype, tolerance):
    layer, nodes, weights = make(PLANS[name], rows, dtype)
    inputs = [*nodes, *layer.parameters(), *([] if weights is None else [weights])]
    found = list(layer(nodes, weights, activate))
    expected = naive(layer, nodes, weights, activate)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    for a, b in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


def test_only_what_a_phase_trains_is_computed():
    layer, nodes, weights = make(PLANS["middle"], ROWS, torch.float32)
    assert weights is not None
    weights_step = layer([n.detach() for n in nodes], weights.detach(), True)
    sum(out.sum() for out in weights_step).backward()
    assert all(p.grad is not None for p in layer.parameters())
    assert weights.grad is None
    layer.requires_grad_(False).zero_grad(set_to_none=True)
    theta_step = layer([n.detach() for n in nodes], weights, True)
    sum(out.sum() for out in theta_step).backward()
    assert weights.grad is not None
    assert all(p.grad is None for p in layer.parameters())


def test_an_output_that_nobody_uses_has_no_gradient():
    layer, nodes, weights = make(PLANS["middle"], ROWS, torch.float64)
    found = layer(nodes, weights, True)[1].sum()
    expected = naive(layer, nodes, weights, True)[1].sum()
    inputs = [*nodes, *layer.parameters(), weights]
    for a, b in zip(
        torch.autograd.grad(found, inputs), torch.autograd.grad(expected, inputs), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_autocast_computes_in_bfloat16_and_trains_in_float32():
    layer, nodes, weights = make(PLANS["middle"], ROWS, torch.float32)
    exact = layer(nodes, weights, True)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(nodes, weights, True)
    assert {out.dtype for out in found} == {torch.bfloat16}
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a.float(), b, rtol=0.03, atol=0.05)
    sum(out.float().sum() for out in found).backward()
    assert {p.grad.dtype for p in [*nodes, *layer.parameters(), weights]} == {torch.float32}
