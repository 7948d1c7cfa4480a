"""Contract 5: hard and soft samples follow theta, and come from the generator alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dnas.core import Choice, Sample, SuperNet
from dnas.core.sampling import gumbel_noise, gumbel_softmax
from dnas.testing.contracts.given import ROWS, MakeBatch, MakeSuperNet, inputs_of, perturbed
from dnas.testing.contracts.walking import (
    BRUTE_FORCE_LIMIT,
    all_architectures,
    combinations,
)

_DRAWS = 500


def check_sampling(make_supernet: MakeSuperNet, make_batch: MakeBatch) -> None:
    """Hard samples follow softmax(theta); soft samples sum to 1, sharpen, and are never NaN."""
    net = perturbed(make_supernet(), theta=True)
    generator = torch.Generator().manual_seed(11)
    for name, choice in net.choices.items():
        _check_hard(name, choice, generator)
        _check_soft(name, choice, generator)
    _check_probabilities(net)
    _check_cold_forward(net, make_batch)


def _check_hard(name: str, choice: Choice, generator: torch.Generator) -> None:
    logits = choice.theta.detach().masked_fill(~choice.valid, -math.inf)
    p = choice.probabilities().detach()
    assert torch.allclose(p, torch.softmax(logits, -1), atol=1e-6), (
        f"contract 5: probabilities of choice {name!r} are not softmax(theta)"
    )
    counts = torch.zeros_like(p)
    rows = torch.arange(len(choice.decisions))
    for _ in range(_DRAWS):
        counts[rows, choice.hard_sample(generator)] += 1
    tolerance = 5.0 * (p * (1 - p) / _DRAWS).sqrt() + 2.0 / _DRAWS
    assert bool(((counts / _DRAWS - p).abs() <= tolerance).all()), (
        f"contract 5: hard samples of choice {name!r} do not follow softmax(theta)"
    )


def _check_soft(name: str, choice: Choice, generator: torch.Generator) -> None:
    sharpness = []
    for temperature in (5.0, 1.0, 0.1):
        soft = choice.soft_sample(temperature, 64, generator).detach()
        assert torch.allclose(soft.sum(-1), torch.ones(()), atol=1e-5), (
            f"contract 5: soft samples of choice {name!r} do not sum to 1"
        )
        assert bool((soft[:, ~choice.valid] == 0).all()), (
            f"contract 5: choice {name!r} gives weight to options that do not exist"
        )
        sharpness.append(float(soft.amax(-1).mean()))
    single = bool((choice.valid.sum(-1) == 1).all())
    assert single or sharpness == sorted(sharpness), (
        f"contract 5: soft samples of choice {name!r} do not sharpen as tau falls: {sharpness}"
    )
    extreme = torch.where(torch.rand(choice.theta.shape) < 0.5, -50.0, 50.0)
    noise = gumbel_noise((64, *choice.theta.shape), device=torch.device("cpu"))
    cold = gumbel_softmax(extreme.masked_fill(~choice.valid, -math.inf), 1e-3, noise)
    assert bool(torch.isfinite(cold).all()), (
        f"contract 5: choice {name!r} gives NaN at temperature 1e-3 with logits of +-50"
    )


def _check_probabilities(net: SuperNet) -> None:
    """In a small space the probabilities of all architectures that can be drawn sum to 1."""
    if combinations(net) > BRUTE_FORCE_LIMIT:
        return
    sample = net.probability_sample()
    distinct = {net.validate(a) for _, a in all_architectures(net, sample)}
    total = sum(math.exp(net.log_probability(architecture)) for architecture in distinct)
    assert math.isclose(total, 1.0, rel_tol=1e-5), (
        f"contract 5: the probabilities of all architectures sum to {total}; trim must drop the "
        "same decisions whatever the options of the dropped ones are"
    )


def _check_cold_forward(net: SuperNet, make_batch: MakeBatch) -> None:
    with torch.no_grad():
        for theta in net.architecture_parameters():
            theta.copy_(torch.where(torch.rand(theta.shape) < 0.5, -50.0, 50.0))
    output = net(*inputs_of(make_batch), sample=net.soft_sample(1e-3, ROWS))
    assert bool(torch.isfinite(output).all()), (
        "contract 5: forward gives NaN or infinity at temperature 1e-3, where weights are 0 and 1; "
        "do not divide by weights or take their logarithm"
    )
    output.float().square().mean().backward()
    for theta in net.architecture_parameters():
        assert theta.grad is None or bool(torch.isfinite(theta.grad).all()), (
            "contract 5: theta's gradient is NaN at temperature 1e-3; do not divide by weights or "
            "take their logarithm"
        )


def check_samples_come_from_the_generator(
    make_supernet: MakeSuperNet, make_batch: MakeBatch
) -> None:
    """Equal generators give equal samples, rows draw for themselves, and nothing else is drawn."""
    net = perturbed(make_supernet(), theta=True)
    state = torch.get_rng_state()
    soft = [_soft(net, seed) for seed in (1, 1, 2)]
    drawn = [_architectures(net, seed) for seed in (1, 1)]
    assert _equal(soft[0], soft[1]), (
        "contract 5: soft samples differ for equal generators; draw from the generator that is "
        "given, and keep no state"
    )
    assert drawn[0] == drawn[1], (
        "contract 5: hard samples differ for equal generators; draw from the generator that is "
        "given"
    )
    assert torch.equal(state, torch.get_rng_state()), (
        "contract 5: sampling draws from the global generator; use the one that is given"
    )
    if any(bool((choice.valid.sum(-1) > 1).any()) for choice in net.choices.values()):
        assert not _equal(soft[0], soft[2]), (
            "contract 5: generators of other seeds give the same soft samples"
        )
        rows = [Sample({n: w[r : r + 1] for n, w in soft[0].weights.items()}) for r in (0, 1)]
        assert not _equal(*rows), (
            "contract 5: the rows of a soft sample share one draw; draw (batch_size, D, K) noise"
        )
    for name, weights in soft[0].weights.items():
        _check_shape(name, weights, (ROWS, *net.choices[name].theta.shape))


def _check_shape(name: str, weights: Tensor, expected: tuple[int, ...]) -> None:
    assert tuple(weights.shape) == expected, (
        f"contract 5: the soft sample of {name!r} has shape {tuple(weights.shape)}, not {expected} "
        "(rows, decisions, options)"
    )
    assert weights.dtype == torch.float32, (
        f"contract 5: the soft sample of {name!r} is {weights.dtype}; sample in float32"
    )


def _soft(net: SuperNet, seed: int) -> Sample:
    return net.soft_sample(1.0, ROWS, torch.Generator().manual_seed(seed))


def _architectures(net: SuperNet, seed: int) -> list[object]:
    generator = torch.Generator().manual_seed(seed)
    return [net.sample_arch(generator=generator) for _ in range(5)]


def _equal(first: Sample, second: Sample) -> bool:
    return all(torch.equal(weights, second[name]) for name, weights in first.weights.items())
