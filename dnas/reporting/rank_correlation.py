"""Do scores order architectures as their training from scratch does? Correlations and choices.

Letters: n subnets, x_i the score of subnet i (a loss with shared weights), y_i its ground truth (a
loss when trained from scratch). Both are the same metric, so that a good score has a positive
correlation; in choices lower is better (give a metric to be large with its sign reversed).

Every correlation takes ``weights``: how often each subnet counts, as whole numbers of shape
``(..., n)``. A bootstrap resample is a vector of such numbers (:mod:`dnas.reporting.bootstrap`), so
that thousands of resamples are a few matrix products, and a subnet that was drawn twice is not a
tie with itself.

    Kendall's tau-b    sum_{i<j} sgn(x_i - x_j) sgn(y_i - y_j)
                       / sqrt(sum_{i<j} [x_i != x_j]  sum_{i<j} [y_i != y_j])
    Pearson's rho      cov(x, y) / sqrt(var(x) var(y))
    Spearman's rho     Pearson's of the ranks, tied values sharing the mean of theirs

tau-b is Kendall's correction for ties [Kendall1945]_; without ties it is the tau of arXiv
2207.07187 (NASRec), section 4.

.. [Kendall1945] M. G. Kendall, The treatment of ties in ranking problems, Biometrika 33 (3).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def kendall_tau_b(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Kendall's tau-b, NaN where all of x or all of y are tied.

    Args:
        x: Shape ``(n,)``, finite.
        y: Shape ``(n,)``, finite.
        weights: How often each pair counts, shape ``(..., n)``; None: once.

    Returns:
        Shape ``(...)``: a 0-dimensional array without ``weights``.

    Raises:
        ValueError: Shapes do not fit, or a number is not finite.
    """
    a, b, counts = _checked(x, y, weights)
    sign_a, sign_b = _signs(a), _signs(b)

    def pairs(matrix: Floats) -> Floats:
        # Twice the sum over i < j; the factor cancels. All terms are whole numbers, hence exact.
        return ((counts @ matrix) * counts).sum(-1)

    return _ratio(pairs(sign_a * sign_b), pairs(np.abs(sign_a)), pairs(np.abs(sign_b)))


def pearson(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Pearson's rho, NaN where all of x or all of y are equal.

    Args:
        x: Shape ``(n,)``, finite.
        y: Shape ``(n,)``, finite.
        weights: How often each pair counts, shape ``(..., n)``; None: once.

    Returns:
        Shape ``(...)``: a 0-dimensional array without ``weights``.

    Raises:
        ValueError: Shapes do not fit, or a number is not finite.
    """
    a, b, counts = _checked(x, y, weights)
    total = counts.sum(-1, keepdims=True)

    def centred(values: Floats) -> Floats:
        # The overall mean first: weighted means of losses that differ by 1e-4 keep their digits.
        shifted = values - values.mean()
        scale = np.abs(shifted).max()
        shifted = shifted / scale if scale > 0 else shifted
        moved = shifted - (counts * shifted).sum(-1, keepdims=True) / total
        # Where only one value counts, what is left is rounding and not a spread.
        constant = np.where(counts > 0, values, -np.inf).max(-1, keepdims=True) == np.where(
            counts > 0, values, np.inf
        ).min(-1, keepdims=True)
        return np.where(constant, 0.0, moved)

    with np.errstate(invalid="ignore"):
        u, v = centred(a), centred(b)
        return _ratio((counts * u * v).sum(-1), (counts * u**2).sum(-1), (counts * v**2).sum(-1))


def spearman(x: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Spearman's rank correlation, NaN where all of x or all of y are tied.

    Args:
        x: Shape ``(n,)``, finite.
        y: Shape ``(n,)``, finite.
        weights: How often each pair counts, shape ``(..., n)``; None: once.

    Returns:
        Shape ``(...)``: a 0-dimensional array without ``weights``.

    Raises:
        ValueError: Shapes do not fit, or a number is not finite.
    """
    a, b, counts = _checked(x, y, weights)

    def centred_ranks(values: Floats) -> Floats:
        # Twice the rank among those that count, minus its mean: sum_j w_j sgn(v_i - v_j).
        return counts @ _signs(values).T

    u, v = centred_ranks(a), centred_ranks(b)
    return _ratio((counts * u * v).sum(-1), (counts * u**2).sum(-1), (counts * v**2).sum(-1))


def overlap_of_best(score: ArrayLike, truth: ArrayLike, k: int) -> float:
    """Share of the k best by score that are among the k best in truth; by chance k/n.

    Args:
        score: Shape ``(n,)``, lower is better; ties go to the smaller index.
        truth: Shape ``(n,)``, lower is better; ties likewise.
        k: From 1 to n.

    Raises:
        ValueError: Shapes do not fit, a number is not finite, or k is out of range.
    """
    by_score, by_truth = _best(score, truth, k)
    return len(set(by_score) & set(by_truth)) / k


def regret_of_best(score: ArrayLike, truth: ArrayLike, k: int = 1) -> float:
    """What is lost by training only the k best by score: their best truth minus the best of all.

    Args:
        score: Shape ``(n,)``, lower is better; ties go to the smaller index.
        truth: Shape ``(n,)``, lower is better.
        k: From 1 to n; 1 takes the score's word for it.

    Raises:
        ValueError: Shapes do not fit, a number is not finite, or k is out of range.
    """
    by_score, _ = _best(score, truth, k)
    values = np.asarray(truth, dtype=np.float64)
    return float(values[by_score].min() - values.min())


def regret_by_chance(truth: ArrayLike, k: int = 1) -> float:
    """Expected regret of k subnets drawn without looking.

    With y_1 <= ... <= y_n it is ``sum_i y_i C(n - i, k - 1) / C(n, k) - y_1``.

    Args:
        truth: Shape ``(n,)``, lower is better.
        k: From 1 to n.

    Raises:
        ValueError: k is out of range, or a number is not finite.
    """
    values, _, _ = _checked(truth, truth, None)
    n = len(values)
    _check_k(k, n)
    rising = np.sort(values)
    chances = [math.comb(n - i, k - 1) / math.comb(n, k) for i in range(1, n + 1)]
    return float(np.dot(rising, chances) - rising[0])


def attainable_pearson(reliability: float, trainings: int) -> float:
    """Largest rho of any score with the mean of several noisy trainings.

    If y = t + noise, with noise that is independent from training to training, two trainings
    correlate with ``r = var(t) / (var(t) + var(noise))``, and the mean of K of them has the
    reliability ``K r / (1 + (K - 1) r)`` (Spearman and Brown). t itself is the best score there can
    be; its correlation with that mean is the square root.

    Args:
        reliability: r, the correlation of two independent trainings.
        trainings: K, trainings in the mean.

    Returns:
        The correlation, 0 if r is not positive, NaN if it is NaN.
    """
    r = min(max(reliability, 0.0), 1.0) if reliability == reliability else reliability
    return math.sqrt(trainings * r / (1 + (trainings - 1) * r))


def _signs(values: Floats) -> Floats:
    """``sgn(v_i - v_j)``, shape ``(n, n)``."""
    return np.sign(values[:, None] - values[None, :])


def _ratio(cross: Floats, own_x: Floats, own_y: Floats) -> Floats:
    """``cross / sqrt(own_x own_y)`` inside [-1, 1], NaN where nothing varies."""
    product = np.sqrt(own_x * own_y)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(product > 0, cross / product, np.nan)
    return np.clip(found, -1.0, 1.0)


def _checked(
    x: ArrayLike, y: ArrayLike, weights: ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"two equally long vectors are needed, but got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a number is NaN or infinite; leave such subnets out first")
    counts = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=np.float64)
    if counts.shape[-1:] != a.shape:
        raise ValueError(f"weights of shape {counts.shape} do not fit {len(a)} subnets")
    return a, b, counts


def _best(score: ArrayLike, truth: ArrayLike, k: int) -> tuple[list[int], list[int]]:
    """Indices of the k best by score and by truth."""
    a, b, _ = _checked(score, truth, None)
    _check_k(k, len(a))
    return (
        np.argsort(a, kind="stable")[:k].tolist(),
        np.argsort(b, kind="stable")[:k].tolist(),
    )


def _check_k(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k={k} is not from 1 to {n}, the number of subnets")
