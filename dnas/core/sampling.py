"""Sampling from the architecture distribution: Gumbel-softmax and categorical draws.

Letters: theta architecture parameters, tau temperature, B rows of a batch, D decisions of a choice,
K options of a decision. All functions are pure; randomness comes from a ``torch.Generator``.

.. [Krishna2021dnas] R. Krishna et al. Differentiable NAS Framework and Application to Ads CTR
    Prediction. arXiv:2110.14812. Equation 3.
.. [Jang2017gumbel] E. Jang, S. Gu, B. Poole. Categorical Reparameterization with Gumbel-Softmax.
    ICLR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Below it ``theta / tau`` loses the float32 digits that separate options; see ``gumbel_softmax``.
MIN_TEMPERATURE = 1e-4


def gumbel_noise(
    shape: tuple[int, ...], *, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Independent Gumbel(0, 1) draws of ``shape``, float32.

    ``-log(E)`` with ``E`` exponential is Gumbel-distributed; the exponential draw is kept away from
    zero, where the logarithm is infinite and two infinities in one row would make NaN.
    """
    exponential = torch.empty(shape, dtype=torch.float32, device=device)
    exponential.exponential_(generator=generator)
    return -exponential.clamp_min_(torch.finfo(torch.float32).tiny).log_()


def gumbel_softmax(logits: Tensor, temperature: float, noise: Tensor) -> Tensor:
    """``softmax((theta + g) / tau)`` over the last dimension, equation 3 of [Krishna2021dnas]_.

    The paper's formula has theta_i in the denominator's sum where theta_k is meant; this is the
    usual form of [Jang2017gumbel]_. Computed in float32 whatever the model's precision is.

    Args:
        logits: ``(D, K)`` theta; ``-inf`` marks an option that does not exist.
        temperature: tau, at least ``MIN_TEMPERATURE``.
        noise: ``(B, D, K)`` Gumbel draws g.

    Returns:
        ``(B, D, K)`` weights that sum to 1 over K; exactly 0 for options that do not exist.

    Raises:
        ValueError: The temperature is below ``MIN_TEMPERATURE`` or not a number.
    """
    if not temperature >= MIN_TEMPERATURE:
        raise ValueError(
            f"temperature must be at least {MIN_TEMPERATURE}, but got {temperature}; "
            "raise init_temp or lower temp_decay"
        )
    return torch.softmax((logits.float() + noise) / temperature, dim=-1)


def categorical_draw(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One draw from softmax(theta) for each decision: argmax of Gumbel-perturbed logits.

    Args:
        logits: ``(D, K)`` theta, ``-inf`` where there is no option.
        generator: Source of randomness.

    Returns:
        ``(D,)`` int64 option indices.
    """
    noise = gumbel_noise(tuple(logits.shape), device=logits.device, generator=generator)
    return (logits.float() + noise).argmax(dim=-1)


def below(count: int, generator: torch.Generator | None = None) -> int:
    """A uniform draw from ``0 .. count - 1``, on the CPU."""
    return int(torch.randint(count, (), generator=generator))


def happens(probability: float, generator: torch.Generator | None = None) -> bool:
    """True with ``probability``, drawn on the CPU."""
    return float(torch.rand((), generator=generator)) < probability


def normalized_entropy(probabilities: Tensor, valid: Tensor) -> Tensor:
    """Mean entropy of the decisions, each divided by the log of its number of options.

    Args:
        probabilities: ``(D, K)`` softmax(theta).
        valid: ``(D, K)`` bool, which options exist.

    Returns:
        Float64 scalar in [0, 1]: 1 for uniform, 0 for decided. Decisions with a single option do
        not count; without any other decision the entropy is 0.
    """
    entropy = torch.special.entr(probabilities.double()).sum(dim=-1)  # (D,)
    options = valid.sum(dim=-1)
    undecided = options > 1
    if not bool(undecided.any()):
        return torch.zeros((), dtype=torch.float64, device=probabilities.device)
    mean: Tensor = (entropy[undecided] / options[undecided].double().log()).mean()
    return mean
