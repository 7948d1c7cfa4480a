"""Training on slices, the released form in the supernet, and inherited weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from nasrec_cases import FULL, RELEASED, inputs, net, prior
from torch.optim import SGD, Adagrad, Adam

from dnas.core import Sample
from dnas.core.head import HasHead
from dnas.costs import count_flops, count_params
from dnas.data.batch import ClickBatch
from dnas.errors import ConfigError
from dnas.strategies.path_step import make_path_step
from dnas.training.general_path_step import GeneralPathStep
from dnas.training.table_optim import RowwiseAdagrad
from supernets.nasrec.path_step import SlicedPathStep

CPU = torch.device("cpu")


def batch(seed: int) -> ClickBatch:
    """In float64: where a gradient is zero but for rounding, Adagrad makes much of little."""
    dense, ids = inputs(16, seed)
    labels = (torch.rand(16, generator=torch.Generator().manual_seed(seed)) < 0.4).double()
    return ClickBatch(dense.double(), ids, labels)


@pytest.mark.parametrize(
    ("optimizer", "options"),
    [(SGD, {}), (Adagrad, {"eps": 1e-2}), (RowwiseAdagrad, {"eps": 1e-8})],
)
@pytest.mark.parametrize("shape", [FULL, RELEASED, replace(FULL, balanced_dot=False)])
def test_slices_are_trained_as_the_whole(shape, optimizer, options):
    torch.manual_seed(0)
    first, second = net(shape).double(), net(shape).double()
    second.load_state_dict(first.state_dict())
    loss = F.binary_cross_entropy_with_logits
    sliced = make_path_step(first, optimizer, 0.1, options, 0.5, loss, CPU)
    assert isinstance(sliced, SlicedPathStep)
    general = GeneralPathStep(second, optimizer, 0.1, options, 0.5, loss, CPU)
    source, generator = prior(first), torch.Generator().manual_seed(3)
    before = {name: value.clone() for name, value in first.state_dict().items()}
    for number in range(8):
        for step in (sliced, general):
            step.set_lr(1.0 - number / 10)
        path = source.path(source.strategies[2 * (number % 2)], generator)
        assert float(sliced(batch(number), path)) == pytest.approx(
            float(general(batch(number), path)), rel=1e-9
        )
        if number == 4:  # the state of the optimizer is whole
            fresh = make_path_step(first, optimizer, 0.1, options, 0.5, loss, CPU)
            fresh.load_state_dict(sliced.state_dict())
            sliced = fresh
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], rtol=1e-7, atol=1e-9)
    assert any(not torch.equal(before[n], v) for n, v in first.state_dict().items())


def test_other_optimizers_take_the_general_step():
    step = make_path_step(net(), Adam, 0.1, {}, 1.0, F.binary_cross_entropy_with_logits, CPU)
    assert isinstance(step, GeneralPathStep)
    decay = {"weight_decay": 0.1}
    step = make_path_step(net(), Adagrad, 0.1, decay, 1.0, F.binary_cross_entropy_with_logits, CPU)
    assert isinstance(step, GeneralPathStep)


@pytest.mark.parametrize("norms", [True, False])
def test_the_released_form_in_the_supernet_is_the_built_model(norms):
    torch.manual_seed(0)
    super_net = net(replace(RELEASED, layer_norm=norms))
    with torch.no_grad():
        for parameter in super_net.weights.values():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    dense, ids = inputs(5)
    generator = torch.Generator().manual_seed(1)
    for number in range(60):
        draw = prior(super_net).candidate if number % 2 else super_net.random_architecture
        architecture = draw(generator)
        model = super_net.build(architecture, inherit_weights=True)
        with torch.no_grad():
            found = super_net(dense, ids, sample=super_net.one_hot_sample(architecture))
            torch.testing.assert_close(found, model(dense, ids), rtol=1e-5, atol=1e-6)
        costs = super_net.cost(architecture)
        assert costs["params"] == count_params(model)
        assert costs["flops"] == count_flops(model, (dense, ids), 5)
        canonical = super_net.canonical(architecture)
        assert super_net.canonical(canonical) == canonical
        assert super_net.cost(canonical) == costs


def test_the_released_form_has_no_mixture():
    super_net = net(RELEASED)
    sample = super_net.soft_sample(1.0, 2)
    for use in (
        lambda: super_net(*inputs(2), sample=sample),
        lambda: super_net.expected_cost(sample),
    ):
        with pytest.raises(ConfigError, match="--search_algorithm=evolution"):
            use()


def test_the_last_layer_apart():
    torch.manual_seed(0)
    super_net = net()
    assert isinstance(super_net, HasHead)
    dense, ids = inputs(4)
    architecture = prior(super_net).candidate(torch.Generator().manual_seed(2))
    weight, bias = super_net.head(architecture)
    features = super_net.head_features(dense, ids, architecture=architecture)
    logits = super_net(dense, ids, sample=super_net.one_hot_sample(architecture))
    torch.testing.assert_close(features @ weight + bias, logits)
    weight.zero_()
    again = super_net(dense, ids, sample=super_net.one_hot_sample(architecture))
    assert torch.equal(again, logits)  # a copy


def test_a_hard_path_computes_what_it_selects_only():
    """Its FLOPs in the supernet are those of the built model."""
    torch.manual_seed(0)
    super_net = net()
    dense, ids = inputs(4)
    generator = torch.Generator().manual_seed(5)
    for _ in range(10):
        architecture = super_net.random_architecture(generator)
        sample = super_net.one_hot_sample(architecture)
        path = partial(super_net, sample=sample)
        assert count_flops(path, (dense, ids), 4) == super_net.cost(architecture)["flops"]
        soft = Sample(sample.weights)
        torch.testing.assert_close(
            super_net(dense, ids, sample=soft), super_net(dense, ids, sample=sample)
        )
