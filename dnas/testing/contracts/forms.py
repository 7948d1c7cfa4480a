"""Contract 6: trimmed and canonical forms of an architecture are the same network."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, SuperNet
from dnas.core.subclassing import checked_form
from dnas.testing.contracts.given import MakeBatch, MakeSuperNet, inputs_of, perturbed
from dnas.testing.contracts.making import built
from dnas.testing.contracts.walking import covering, full_decisions, weights_of

_DRAWS = 12


def check_forms(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """JSON keeps architectures; trim drops what has no effect; canonical keeps the network."""
    net = perturbed(make_supernet())
    net.eval()
    inputs = inputs_of(make_batch)
    generator = torch.Generator().manual_seed(37)
    for _ in range(_DRAWS):
        _check_trim(net, inputs, full_decisions(net, generator))
    for architecture in covering(net):
        again = Architecture(json.loads(json.dumps(dict(architecture))))
        assert again == architecture, f"contract 6: {architecture} does not survive JSON"
        assert net.trim(architecture) == architecture, (
            f"contract 6: trim is not idempotent at {architecture}"
        )
        _check_canonical(net, inputs, architecture)


def _check_trim(net: SuperNet, inputs: tuple[Any, ...], decisions: dict[str, Any]) -> None:
    trimmed = checked_form(net, "trim", net.trim(Architecture(decisions)))
    dropped = sorted(set(decisions) - set(trimmed))
    changed = sorted(key for key in trimmed if trimmed[key] != decisions.get(key))
    assert not changed, (
        f"contract 6: trim changes {changed[:5]}; it may only drop decisions, merging networks "
        "belongs into canonical"
    )
    with torch.no_grad():
        whole = net(*inputs, sample=weights_of(net, decisions))
        rest = net(*inputs, sample=net.one_hot_sample(trimmed))
    assert torch.allclose(whole, rest, atol=1e-5), (
        f"contract 6: trim drops {dropped[:5]} of {decisions}, but forward's output depends on "
        "them; drop only decisions without an effect"
    )
    costs = net.cost(decisions), net.cost(trimmed)
    unfit = {name: value for name, value in costs[0].items() if not math.isfinite(value)}
    assert not unfit, (
        f"contract 2: the costs of {decisions} are not finite: {unfit}; look for NaN or infinity "
        "in option_costs, fixed_costs or cost_terms"
    )
    assert costs[0] == costs[1], (
        f"contract 6: trim drops {dropped[:5]} of {decisions}, but a cost depends on them: "
        f"{costs[0]} and {costs[1]}"
    )


def _check_canonical(net: SuperNet, inputs: tuple[Any, ...], architecture: Architecture) -> None:
    canonical = checked_form(net, "canonical", net.canonical(architecture))
    assert net.canonical(canonical) == canonical, (
        f"contract 6: canonical is not idempotent at {architecture}"
    )
    if canonical == architecture:
        return
    costs = net.cost(architecture), net.cost(canonical)
    assert costs[0] == costs[1], (
        f"contract 6: the canonical form {canonical} of {architecture} costs something else, so it "
        f"is another network: {costs[1]} and {costs[0]}"
    )
    models = [built(net, form).eval() for form in (architecture, canonical)]
    shapes = [Counter(tuple(p.shape) for p in model.parameters()) for model in models]
    assert shapes[0] == shapes[1], (
        f"contract 6: the canonical form {canonical} of {architecture} has parameters of other "
        "shapes, so it is another network"
    )
    # The same network may have its layers under other names, or its inputs in another order: equal
    # weights for equal shapes do away with the former, constant ones with the latter too.
    outputs = [[_output(model, inputs, constant) for model in models] for constant in (False, True)]
    assert any(torch.allclose(first, second, atol=1e-5) for first, second in outputs), (
        f"contract 6: the canonical form {canonical} of {architecture} computes something else "
        "with the same weights, so it is another network"
    )


def _output(model: nn.Module, inputs: tuple[Any, ...], constant: bool) -> Tensor:
    with torch.no_grad():
        for parameter in model.parameters():
            shape = tuple(parameter.shape)
            seed = int.from_bytes(hashlib.sha256(str(shape).encode()).digest()[:4], "big")
            generator = torch.Generator().manual_seed(seed)
            values = torch.rand(1 if constant else shape, generator=generator)
            parameter.copy_((values - 0.3).expand(shape))
        output: Tensor = model(*inputs)
    return output
