"""Variants of a search's step: hard weights steps, bfloat16, and no waiting for the device."""

from __future__ import annotations

from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)

from dnas.costs import BudgetPenalty
from dnas.errors import ConfigError
from dnas.models import look_up
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.training.optim import OPTIMIZERS
from supernets import EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS
from tests.toys import SPACE, SPEC, all_equal, click_batches, click_manager, snapshot

SPACES = (EMB_CARD, EMB_DIM, JOINT, TOP_BOTTOM_MLPS)


def by_name(spaces):
    return pytest.mark.parametrize("space", spaces, ids=[space.name for space in spaces])


# ------------------------------------------------------------------ hard weights steps


@by_name(SPACES)
def test_a_hard_weights_step_trains_one_architecture(space):
    net = space.make_supernet(SPACE, SPEC)
    manager = click_manager(net, weights_sampling="hard")
    manager.turns.train_only(WEIGHTS)
    (batch,) = click_batches(1)
    drawn = []
    draw = net.hard_sample

    def remembered(**arguments):
        drawn.append(draw(**arguments))
        return drawn[-1]

    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    with mock.patch.object(net, "hard_sample", remembered):
        loss = manager.run_one_dnas_step(batch, WEIGHTS, 1.0)
    (sample,) = drawn
    # The loss is that of the architecture with the weights from before.
    after = net.state_dict()
    net.load_state_dict(before, strict=False)
    model = net.build(sample.architecture, inherit_weights=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        model(*batch.inputs), batch.labels
    )
    torch.testing.assert_close(loss, expected)
    # Nothing that it does not use has moved.
    net.load_state_dict(after)
    full = torch.autograd.grad(
        torch.nn.functional.binary_cross_entropy_with_logits(
            net(*batch.inputs, sample=type(sample)(sample.weights)), batch.labels
        ),
        [p for p in net.weight_parameters()],
        allow_unused=True,
    )
    names = [name for name, p in net.named_parameters() if p.requires_grad]
    for name, gradient in zip(names, full, strict=True):
        moved = before[name] != after[name]
        used = torch.zeros_like(moved) if gradient is None else gradient.to_dense() != 0
        assert not (moved & ~used).any(), name
    assert all_equal(
        snapshot(net.architecture_parameters()),
        [before[name] for name, p in net.named_parameters() if not p.requires_grad],
    )


def test_hard_weights_steps_leave_theta_steps_soft():
    managers = [click_manager(weights_sampling=kind) for kind in ("soft", "hard")]
    (batch,) = click_batches(1)
    for manager in managers:
        manager.turns.train_only(THETA)
        manager.run_one_dnas_step(batch, THETA, 1.0)
    first, second = (snapshot(m.super_net.architecture_parameters()) for m in managers)
    assert all_equal(first, second)


def test_an_unknown_weights_sampling_is_refused():
    with pytest.raises(ConfigError, match="weights_sampling must be 'soft' or 'hard', but got 'x'"):
        click_manager(weights_sampling="x")


# ------------------------------------------------------------------ precision


@by_name(SPACES)
@pytest.mark.parametrize("kind", [WEIGHTS, THETA])
def test_bfloat16_steps_are_near_those_in_float32(space, kind):
    results = []
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(5)
        net = space.make_supernet(SPACE, SPEC)
        manager = click_manager(net, precision=precision, use_hw_cost=True, cost_metric="params")
        manager.turns.train_only(kind)
        losses = [manager.run_one_dnas_step(batch, kind, 1.0) for batch in click_batches(6)]
        assert {p.dtype for p in net.parameters()} == {torch.float32}
        assert losses[0].dtype is torch.float32
        results.append((torch.stack(losses), snapshot(net.parameters())))
    (exact, parameters), (rounded, others) = results
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.01)
    assert not torch.equal(rounded, exact)  # autocast was on
    for a, b in zip(parameters, others, strict=True):
        torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ConfigError, match="precision must be one of float32, bfloat16, but got 'f"):
        click_manager(precision="fp16")


# ------------------------------------------------------------------ waiting for the device


@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "rowwise_adagrad"])
@by_name(SPACES)
def test_a_step_with_gradients_of_fixed_shape_reads_nothing_from_the_device(space, optimizer):
    """Fake tensors have no values: whoever asks for one, or for a shape made of one, raises.

    That is what makes a host wait for a GPU, and what a CUDA graph cannot record.
    """

    def steps() -> None:
        manager = click_manager(
            space.make_supernet(SPACE, SPEC),
            w_optim_class=OPTIMIZERS[optimizer],
            penalty=BudgetPenalty({"params": 100.0}),
        )
        batches = click_batches(2)
        # Fake tensors do not know generators.
        noise = mock.patch("dnas.core.choice.gumbel_noise", lambda shape, **_: torch.rand(shape))
        with FakeTensorMode(allow_non_fake_inputs=True), noise:
            for kind in (WEIGHTS, THETA):
                manager.turns.train_only(kind)
                for step, batch in enumerate(batches, start=1):
                    loss = manager.run_one_dnas_step(batch, kind, 0.8)
                    manager.monitors[kind].update(step, loss)
        assert type(loss).__name__ == "FakeTensor"

    with mock.patch.object(look_up, "_fixed_shape", return_value=True):
        steps()
    with pytest.raises((DynamicOutputShapeException, DataDependentOutputException)):
        steps()  # as on a CPU, where asking costs nothing
