"""Contract 1: what ``forward`` computes, under one-hot samples and under those of each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Sample, SuperNet
from dnas.testing.contracts.given import ROWS, MakeBatch, MakeSuperNet, inputs_of, perturbed, run
from dnas.testing.contracts.making import built
from dnas.testing.contracts.tensors import attributes, tensors_in
from dnas.testing.contracts.walking import covering


def check_one_hot_equals_built(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Forward with a one-hot sample is the built architecture with inherited weights."""
    net = perturbed(make_supernet())
    net.eval()
    inputs = inputs_of(make_batch)
    for architecture in covering(net):
        model = built(net, architecture, inherit_weights=True)
        model.eval()
        shared = {p.data_ptr() for p in net.parameters()} & {
            p.data_ptr() for p in model.parameters() if p.numel()
        }
        assert not shared, (
            "contract 1: the built model shares storage with the supernet; copy the weights, or "
            "training the model changes the supernet"
        )
        with torch.no_grad():
            expected = model(*inputs)
            sample = net.one_hot_sample(architecture)
            # A forward may compute only what a sample's architecture selects. The weights alone
            # must say the same, for soft samples have nothing else.
            for given, what in (
                (sample, "the hard sample"),
                (Sample(sample.weights), "the one-hot weights"),
            ):
                found = net(*inputs, sample=given)
                _check_equal(expected, found, f"{what} of {architecture}")


def _check_equal(expected: Tensor, found: Tensor, what: str) -> None:
    assert expected.shape == found.shape, (
        f"contract 1: build gives outputs of shape {tuple(expected.shape)}, forward "
        f"{tuple(found.shape)}"
    )
    error = float((expected - found).abs().max() / (1.0 + expected.abs().max()))
    assert error < 1e-5, (
        f"contract 1: forward with {what} differs from build(..., inherit_weights=True) by "
        f"{error:.2e}; apply activations and norms on each edge before the weighted sum, copy "
        "every weight in build, and keep no sample on the module"
    )


def check_forward_uses_the_sample(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Every Choice reaches the output through the sample that is passed, and no other."""
    net = perturbed(make_supernet(), theta=True)
    inputs = inputs_of(make_batch)
    for mode in (True, False):
        net.train(mode)
        drawn = net.soft_sample(1.0, ROWS)
        leaves = {name: w.detach().clone().requires_grad_() for name, w in drawn.weights.items()}
        output = run(net, inputs, Sample(leaves))
        gradients = (
            torch.autograd.grad(output.sum(), list(leaves.values()), allow_unused=True)
            if output.requires_grad
            else [None] * len(leaves)
        )
        unused = [name for name, g in zip(leaves, gradients, strict=True) if g is None]
        assert not unused, (
            f"contract 1: forward ignores the sample of {unused}: the output does not depend on "
            "it; multiply what the options compute with sample[choice] "
            "(calculate_weighted_sum does), on every way through forward"
        )
    _check_nothing_is_kept(net, inputs)


def _check_nothing_is_kept(net: SuperNet, inputs: tuple[Any, ...]) -> None:
    for mode in (True, False):
        net.train(mode)
        where = "training mode" if mode else "evaluation mode"
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            first = net.soft_sample(1.0, ROWS, generator)
            before = run(net, inputs, first)
            second = net.soft_sample(1.0, ROWS, generator)
            net.hard_sample(generator=generator)
            run(net, inputs, second)
            net.soft_sample(1.0, ROWS, generator)
            after = run(net, inputs, first)
        assert torch.allclose(before, after, atol=1e-6), (
            f"contract 1: in {where} the output for the same sample changes once another one was "
            "drawn or passed; read the sample that is passed to forward, keep none on the module"
        )
        memory = {w.data_ptr() for s in (first, second) for w in s.weights.values()}
        for name, value in attributes(net):
            kept = isinstance(value, Sample) or any(
                t.data_ptr() in memory for t in tensors_in(value)
            )
            assert not kept, (
                f"contract 1: in {where} {name} keeps a sample after forward; pass the sample on "
                "as an argument instead"
            )


def check_rows_may_have_their_own_sample(
    make_supernet: MakeSuperNet, make_batch: MakeBatch
) -> None:
    """A row's output depends on its own sample only, and a shared sample serves all rows."""
    _check_rows(perturbed(make_supernet()), make_batch, ())


def check_rows_but_for_batch_norm(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """The same of a supernet that has batch norm, whose statistics of the batch mix the rows.

    Only they are left out: in training mode the batch norms use their running statistics here.
    """
    net = perturbed(make_supernet())
    norms = [part for part in net.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    assert norms, (
        "contract 1: batch_norm=True, but there is no batch norm in the supernet; leave it out, so "
        "that rows are checked in training too"
    )
    _check_rows(net, make_batch, norms)


def _check_rows(net: SuperNet, make_batch: MakeBatch, norms: Sequence[nn.Module]) -> None:
    inputs = inputs_of(make_batch)
    for mode in (False, True):
        net.train(mode)
        for norm in norms:
            norm.eval()
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            sample = net.soft_sample(1.0, ROWS, generator)
            together = run(net, inputs, sample)
            shared = Sample({name: weights[2:3] for name, weights in sample.weights.items()})
            repeated = Sample({n: w[2:3].expand(ROWS, -1, -1) for n, w in sample.weights.items()})
            with_shared = run(net, inputs, shared)
            with_repeated = run(net, inputs, repeated)
        assert torch.allclose(with_shared, with_repeated, atol=1e-5), (
            "contract 1: a sample of batch size 1 must act like the same sample for every row; let "
            "the weights broadcast over the batch"
        )
        reason = (
            "batch norm mixes the rows in training: say that there is one with batch_norm=True, or "
            "use LayerNorm or GroupNorm"
            if mode and not norms
            else "use sample[choice][:, d] per row and do not average over the batch"
        )
        assert torch.allclose(together[2], with_shared[2], atol=1e-5), (
            f"contract 1: the output of a row changes with the samples of other rows"
            f"{' in training mode' if mode else ''}; {reason}"
        )
