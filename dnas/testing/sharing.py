"""Contracts of a space that is searched with shared weights, to run in its own tests::

    from dnas.testing import check_sharing

    def test_sharing():
        check_sharing(make_supernet, lambda net: MyPrior(net), make_batch)

They are about what ``--search_algorithm=evolution`` needs beyond a SuperNet: the Prior, and where
the supernet has them, its linear head (``dnas.core.HasHead``) and its own step (``path_step``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from dnas.core import Architecture, HasHead, Prior, SuperNet
from dnas.strategies.path_step import PathStep, make_path_step
from dnas.testing.contracts.given import FixedBatch, MakeBatch, MakeSuperNet, inputs_of
from dnas.training.seeding import seed_everything

#: From a supernet to the prior of its space.
MakePrior = Callable[[SuperNet], Prior]

_DRAWS = 20


def check_sharing(
    make_supernet: MakeSuperNet, make_prior: MakePrior, make_batch: MakeBatch, *, seed: int = 0
) -> None:
    """Run all contracts of shared weights.

    Args:
        make_supernet: Makes a freshly initialised supernet; called several times.
        make_prior: Makes the prior of a supernet.
        make_batch: Random inputs of ``forward`` for a number of rows: a tuple, or a batch that has
            them as ``inputs``.
        seed: Of everything random here.

    Raises:
        AssertionError: A contract is broken; the message says which and what to mend.
    """
    seed_everything(seed)
    check_prior(make_supernet, make_prior)
    seed_everything(seed)
    check_head(make_supernet, make_prior, make_batch)
    seed_everything(seed)
    check_path_step(make_supernet, make_prior, make_batch)


def check_prior(make_supernet: MakeSuperNet, make_prior: MakePrior) -> None:
    """All that a prior draws is valid, trimmed, and a function of the generator."""
    net = make_supernet()
    prior = make_prior(net)
    assert prior.strategies, "prior: strategies must name at least one way to draw paths"
    draws: dict[str, Callable[[torch.Generator], Architecture]] = {
        f"path({name!r})": lambda g, name=name: prior.path(name, g)  # type: ignore[misc]
        for name in prior.strategies
    }
    draws["candidate"] = prior.candidate
    start = prior.candidate(torch.Generator().manual_seed(0))
    draws["mutate"] = lambda g: prior.mutate(start, g)
    draws["redraw"] = lambda g: prior.redraw(start, 0.5, g)
    draws["crossover"] = lambda g: prior.crossover(start, prior.candidate(g), g)
    for what, draw in draws.items():
        state = torch.get_rng_state()
        found = _some(draw)
        assert found == _some(draw), (
            f"prior: {what} differs for equal generators; draw from the generator that is given, "
            "and keep no state"
        )
        assert torch.equal(state, torch.get_rng_state()), (
            f"prior: {what} draws from the global generator; use the one that is given"
        )
        for architecture in found:
            _check_valid(net, architecture, what)
    assert set(_some(draws["mutate"])) != {start}, "prior: mutate never changes anything"
    generator = torch.Generator().manual_seed(2)
    assert prior.redraw(start, 0.0, generator) == start, "prior: redraw with probability 0 changes"
    assert prior.crossover(start, start, generator) == start, (
        "prior: the crossover of an architecture with itself is another one"
    )
    full = prior.full_path()
    if full is not None:
        _check_valid(net, full, "full_path")


def _some(draw: Callable[[torch.Generator], Architecture]) -> list[Architecture]:
    generator = torch.Generator().manual_seed(1)
    return [draw(generator) for _ in range(_DRAWS)]


def _check_valid(net: SuperNet, architecture: Architecture, what: str) -> None:
    assert net.validate(architecture) == architecture, (
        f"prior: {what} gives {architecture}, which is not trimmed; return super_net.trim(...)"
    )


def check_head(make_supernet: MakeSuperNet, make_prior: MakePrior, make_batch: MakeBatch) -> None:
    """``features @ weight + bias`` is ``forward``, and the head is a copy."""
    net = make_supernet().eval()
    if not isinstance(net, HasHead):
        return
    prior, inputs = make_prior(net), inputs_of(make_batch)
    for architecture in _some(prior.candidate):
        with torch.no_grad():
            expected = net(*inputs, sample=net.one_hot_sample(architecture))
            features = net.head_features(*inputs, architecture=architecture)
        weight, bias = net.head(architecture)
        assert features.dim() == 2, f"head: features have the shape {tuple(features.shape)}"
        assert weight.shape == features.shape[1:], (
            f"head: {features.shape[1]} features, but a weight of shape {tuple(weight.shape)}"
        )
        assert bias.shape == (), f"head: the bias has the shape {tuple(bias.shape)}, not ()"
        error = float((features @ weight + bias - expected).abs().max())
        assert error < 1e-5 * (1.0 + float(expected.abs().max())), (
            f"head: features @ weight + bias differs from forward by {error:.2e} for {architecture}"
        )
        with torch.no_grad():
            weight.add_(1.0)
            bias.add_(1.0)
            after = net(*inputs, sample=net.one_hot_sample(architecture))
        assert torch.equal(after, expected), "head: it shares memory with the supernet; copy it"


def check_path_step(
    make_supernet: MakeSuperNet, make_prior: MakePrior, make_batch: MakeBatch
) -> None:
    """Steps train no theta, learn nothing at rate 0, and go on exactly from their state."""
    net = make_supernet()
    prior, inputs = make_prior(net), inputs_of(make_batch)
    paths = _some(lambda generator: prior.path(prior.strategies[0], generator))

    def batch(path: Architecture) -> FixedBatch:
        with torch.no_grad():
            outputs = net(*inputs, sample=net.one_hot_sample(path))
        return FixedBatch(inputs, torch.ones_like(outputs))

    batches = {path: batch(path) for path in paths}  # outputs may have another shape in each

    def begin() -> tuple[SuperNet, PathStep]:
        copy = make_supernet()
        copy.load_state_dict(net.state_dict())
        return copy, make_path_step(
            copy, torch.optim.Adagrad, 0.1, {"eps": 1e-2}, 5.0, mse_loss, torch.device("cpu")
        )

    def train(step: PathStep, number: int) -> Tensor:
        seed_everything(
            number
        )  # dropout of a step is the same in every training, as after a resume
        return step(batches[paths[number]], paths[number])

    still, step = begin()
    step.set_lr(0.0)
    train(step, 0)
    # Batch norms may note what they see.
    assert all(map(torch.equal, still.parameters(), net.parameters())), (
        "path step: weights change at learning rate 0; see set_lr"
    )
    whole, step = begin()
    for number in range(_DRAWS):
        loss = train(step, number)
        assert loss.dim() == 0, f"path step: the loss has the shape {tuple(loss.shape)}"
        assert not loss.requires_grad, "path step: the loss must be detached"
    assert not _same(whole, net), "path step: nothing was trained"
    for before, after in zip(
        net.architecture_parameters(), whole.architecture_parameters(), strict=True
    ):
        assert torch.equal(before, after), "path step: theta has changed; train weights alone"
    first, step = begin()
    for number in range(_DRAWS // 2):
        train(step, number)
    second, resumed = begin()
    second.load_state_dict(first.state_dict())
    resumed.load_state_dict(_copied(step.state_dict()))
    for number in range(_DRAWS // 2, _DRAWS):
        train(resumed, number)
    assert _same(second, whole), (
        "path step: after load_state_dict it goes on to other weights; state_dict must hold all "
        "that the optimizer remembers"
    )


def _same(first: SuperNet, second: SuperNet) -> bool:
    state = second.state_dict()
    return all(torch.equal(value, state[name]) for name, value in first.state_dict().items())


def _copied(state: Any) -> Any:
    """Without shared memory, as from a checkpoint."""
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: _copied(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_copied(value) for value in state)
    return state
