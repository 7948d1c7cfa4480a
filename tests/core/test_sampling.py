"""Gumbel-softmax, categorical draws and entropy against hand-computed values."""

from __future__ import annotations

import math

import pytest
import torch

from dnas.core.sampling import (
    MIN_TEMPERATURE,
    categorical_draw,
    gumbel_noise,
    gumbel_softmax,
    normalized_entropy,
)

CPU = torch.device("cpu")
INF = math.inf


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return gumbel_noise(shape, device=CPU, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("logits", "g", "temperature", "expected"),
    [
        ([0.0, math.log(2)], [0.0, 0.0], 1.0, [1 / 3, 2 / 3]),
        ([0.0, math.log(2)], [0.0, 0.0], 0.5, [1 / 5, 4 / 5]),
        ([0.0, math.log(4)], [0.0, 0.0], 2.0, [1 / 3, 2 / 3]),
        ([0.0, math.log(2)], [math.log(3), 0.0], 1.0, [3 / 5, 2 / 5]),
        ([0.0, math.log(3), -INF], [0.0, 0.0, 9.0], 1.0, [1 / 4, 3 / 4, 0.0]),
        ([-50.0, 50.0], [0.0, 0.0], 1e-3, [0.0, 1.0]),
    ],
)
def test_gumbel_softmax_by_hand(logits, g, temperature, expected):
    found = gumbel_softmax(torch.tensor([logits]), temperature, torch.tensor([[g]]))
    assert found.shape == (1, 1, len(logits))
    torch.testing.assert_close(found[0, 0], torch.tensor(expected))
    for value, wanted in zip(found[0, 0].tolist(), expected, strict=True):
        assert wanted != 0.0 or value == 0.0


@pytest.mark.parametrize("temperature", [0.0, -1.0, MIN_TEMPERATURE / 2, math.nan])
def test_gumbel_softmax_refuses_a_temperature_it_cannot_compute_with(temperature):
    with pytest.raises(ValueError, match=r"temperature must be at least 0\.0001"):
        gumbel_softmax(torch.zeros(1, 2), temperature, torch.zeros(1, 1, 2))


def test_gumbel_softmax_computes_in_float32():
    found = gumbel_softmax(torch.zeros(1, 2, dtype=torch.bfloat16), 1.0, torch.zeros(1, 1, 2))
    assert found.dtype == torch.float32


def test_noise_is_a_function_of_its_generator():
    assert torch.equal(noise(4, 5, seed=1), noise(4, 5, seed=1))
    assert not torch.equal(noise(4, 5, seed=1), noise(4, 5, seed=2))
    torch.manual_seed(0)
    first = torch.rand(3)
    torch.manual_seed(0)
    noise(100)
    assert torch.equal(first, torch.rand(3))  # the global generator is left alone


def test_noise_is_gumbel_distributed():
    draws = noise(200_000).double()
    assert torch.isfinite(draws).all()
    assert float(draws.mean()) == pytest.approx(0.5772157, abs=0.015)  # Euler's constant
    assert float(draws.var()) == pytest.approx(math.pi**2 / 6, abs=0.03)
    assert float((draws <= 0).double().mean()) == pytest.approx(math.exp(-1), abs=0.005)


def test_categorical_frequencies():
    p = torch.tensor([0.6, 0.3, 0.1])
    logits = p.log().expand(20_000, 3)
    counts = torch.bincount(categorical_draw(logits, torch.Generator().manual_seed(0)), minlength=3)
    # Five standard deviations of a binomial frequency.
    assert ((counts / 20_000 - p).abs() < 5 * (p * (1 - p) / 20_000).sqrt()).all()


def test_categorical_never_draws_what_does_not_exist():
    logits = torch.tensor([0.0, -INF, -30.0]).expand(5_000, 3)
    drawn = categorical_draw(logits, torch.Generator().manual_seed(0))
    assert set(drawn.tolist()) == {0}


def test_entropy_by_hand():
    p = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])
    valid = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    # 1.5 ln 2 / ln 3 for the first, 1 for the second; the third has nothing to decide.
    expected = (1.5 * math.log(2) / math.log(3) + 1.0) / 2
    found = normalized_entropy(p, valid)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_entropy_ends():
    uniform = torch.full((2, 4), 0.25)
    every = torch.ones(2, 4, dtype=torch.bool)
    assert float(normalized_entropy(uniform, every)) == pytest.approx(1.0)
    decided = torch.tensor([[0.0, 1.0, 0.0, 0.0]] * 2)
    assert float(normalized_entropy(decided, every)) == 0.0
    single = torch.tensor([[True, False, False, False]] * 2)
    assert float(normalized_entropy(uniform, single)) == 0.0
