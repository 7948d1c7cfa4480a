"""Contracts 1 and 7: what ``build`` gives, for every option."""

from __future__ import annotations

import torch
from torch import nn

from dnas.core import Architecture, Choice, Option, SuperNet
from dnas.testing.contracts.given import (
    MakeBatch,
    MakeSuperNet,
    inputs_of,
    one_tensor,
    perturbed,
)
from dnas.testing.contracts.making import built, check_modules_are_seen
from dnas.testing.contracts.tensors import stray_tensors
from dnas.testing.contracts.walking import all_options, covering
from dnas.training.seeding import seed_everything


def check_built_models(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """A built model is plain, fresh unless weights are inherited, and the supernet stays."""
    net = perturbed(make_supernet())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for architecture in covering(net):
        fresh = _seeded(net, architecture)
        inherited = built(net, architecture, inherit_weights=True)
        for module in (fresh, inherited):
            _check_plain(module, architecture)
        _check_fresh(fresh, inherited, architecture)
        again = _seeded(net, architecture)
        assert _same_parameters(fresh, again), (
            "contract 6: build gives other initial weights for the same torch seed; use torch's "
            "generator only"
        )
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), (
            f"contract 1: build changed the supernet's {name}; build makes a module of its own"
        )


def _seeded(net: SuperNet, architecture: Architecture) -> nn.Module:
    seed_everything(19)
    return built(net, architecture)


def _check_plain(module: nn.Module, architecture: Architecture) -> None:
    assert not any(isinstance(part, Choice) for part in module.modules()), (
        f"contract 1: the model built for {architecture} contains a Choice; a built model is "
        "plain, without a trace of the search"
    )
    check_modules_are_seen(module, "the built model")
    for name, _ in stray_tensors(module):
        raise AssertionError(
            f"contract 1: {name} of the built model holds a tensor that is neither parameter nor "
            "buffer: it would be neither trained nor saved; use nn.Parameter or register_buffer"
        )


def _check_fresh(fresh: nn.Module, inherited: nn.Module, architecture: Architecture) -> None:
    """The supernet's weights are moved away from where they start, so none may be equal."""
    theirs = dict(inherited.named_parameters())
    shapes = {name: tuple(p.shape) for name, p in fresh.named_parameters()}
    assert shapes == {name: tuple(p.shape) for name, p in theirs.items()}, (
        f"contract 1: build({architecture}) gives other parameters with inherit_weights than "
        "without; it must be the same module"
    )
    for name, parameter in fresh.named_parameters():
        if parameter.requires_grad and parameter.numel():
            assert not torch.equal(parameter, theirs[name]), (
                f"contract 1: build(..., inherit_weights=False) gives {name} the same values as "
                "with True: either it copies the supernet's trained weights, which it may only do "
                "with inherit_weights=True, or it does not copy them there"
            )


def _same_parameters(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def check_every_option_is_reachable(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Every option of every decision can be sampled, built and run."""
    net = make_supernet()
    inputs = inputs_of(make_batch)
    reached: set[tuple[str, Option]] = set()
    for architecture in covering(net):
        reached |= set(architecture.items())
        model = built(net, architecture)
        output = one_tensor(model(*inputs), f"the model built for {architecture}")
        assert bool(torch.isfinite(output).all()), (
            f"contract 7: the model built for {architecture} gives outputs that are not finite"
        )
    missing = all_options(net) - reached
    assert not missing, (
        f"contract 7: no sampled architecture has {sorted(map(str, missing))[:5]}; "
        "mark options that cannot occur with None"
    )
