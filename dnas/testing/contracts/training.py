"""Contract 1 in training: what learns and what is random, in ``forward`` and in ``build``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, Sample, SuperNet
from dnas.testing.contracts.given import MakeBatch, MakeSuperNet, inputs_of, one_tensor, perturbed
from dnas.testing.contracts.making import built
from dnas.testing.contracts.walking import covering

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
_CLOSE = 1e-3
#: Seeds that are tried before something counts as not random.
_SEEDS = 16


def check_training_equals_built(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """In training mode, weights learn in the supernet as they do in the built model.

    Compared is how the output changes as all trainable weights grow by the same factor: the sum of
    weights times gradients. It is the same in both, however ``build`` slices, joins or repeats the
    supernet's weights. A branch without a gradient, or a frozen layer on one side, changes it,
    unless what it contributes is below a thousandth. Where the supernet itself freezes weights,
    all are made trainable first, so that only branches are compared. Dropout modules are switched
    off for this; where other random numbers are drawn, it is done in evaluation mode.

    Where training the supernet is random under an architecture, training the built model must be
    so too (not the other way round); how random is not compared.
    """
    net = perturbed(make_supernet())
    inputs = inputs_of(make_batch)
    thaw = not all(weight.requires_grad for weight in net.weight_parameters())
    for architecture in covering(net):
        model = built(net, architecture, inherit_weights=True)
        if thaw:
            _thaw((*net.weight_parameters(), *model.parameters()))
        sample = net.one_hot_sample(architecture)
        for given in (sample, Sample(sample.weights)):
            _check_learning(net, model, inputs, given, architecture)
        _check_random(net, model, inputs, sample, architecture)


def _check_learning(
    net: SuperNet,
    model: nn.Module,
    inputs: tuple[Any, ...],
    sample: Sample,
    architecture: Architecture,
) -> None:
    def forward() -> Tensor:
        return one_tensor(net(*inputs, sample=sample), "forward")

    def plain() -> Tensor:
        return one_tensor(model(*inputs), "the built model")

    for part in (net, model):
        _train_without_dropout(part)
    if _is_random(forward, 3) or _is_random(plain, 3):
        net.eval()
        model.eval()
    expected, size = _growth(plain, model.parameters())
    found, _ = _growth(forward, net.weight_parameters())
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    why = (
        f"build freezes {', '.join(frozen[:3])}, which the supernet trains"
        if frozen
        else "forward must not detach() what an option computes, nor compute it under no_grad"
    )
    assert abs(expected - found) <= _CLOSE * size + 1e-7, (
        f"contract 1: in training, weights do not learn alike in forward and in the model built "
        f"for {architecture}: their sum of weights times gradients is {found:.6g} and "
        f"{expected:.6g}; {why}"
    )


def _check_random(
    net: SuperNet,
    model: nn.Module,
    inputs: tuple[Any, ...],
    sample: Sample,
    architecture: Architecture,
) -> None:
    net.train()
    model.train()
    if _is_random(lambda: net(*inputs, sample=sample), _SEEDS):
        assert _is_random(lambda: model(*inputs), 2 * _SEEDS), (
            f"contract 1: in training mode forward is random under {architecture}, but the model "
            "built for it is not; build must make the same Dropout"
        )


def _train_without_dropout(module: nn.Module) -> None:
    module.train()
    for part in module.modules():
        if isinstance(part, _DROPOUTS):
            part.eval()


def _is_random(compute: Callable[[], Tensor], seeds: int) -> bool:
    """Whether the output changes with torch's seed, among the first few."""
    with torch.no_grad():
        torch.manual_seed(0)
        first = compute()
        for seed in range(1, seeds):
            torch.manual_seed(seed)
            if not torch.allclose(first, compute(), atol=1e-6):
                return True
    return False


def _growth(compute: Callable[[], Tensor], weights: Iterable[Tensor]) -> tuple[float, float]:
    """Sum of weights times gradients of some combination of the outputs, and of magnitudes."""
    trained = [weight for weight in weights if weight.requires_grad]
    torch.manual_seed(29)
    output = compute()
    if not output.requires_grad:
        return 0.0, 0.0
    direction = torch.linspace(1.0, 2.0, output.numel()).view_as(output)
    gradients = torch.autograd.grad((output * direction).sum(), trained, allow_unused=True)
    terms = [
        weight.detach().double() * (gradient.to_dense() if gradient.is_sparse else gradient)
        for weight, gradient in zip(trained, gradients, strict=True)
        if gradient is not None
    ]
    total = sum(float(term.sum()) for term in terms)
    return total, sum(float(term.abs().sum()) for term in terms)


def _thaw(weights: Iterable[Tensor]) -> None:
    for weight in weights:
        weight.requires_grad_()
