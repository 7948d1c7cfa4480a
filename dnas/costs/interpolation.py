"""The time of a shape that was not measured, from shapes of its kind that were.

Letters: n measured operators of one kind, x_i their sizes, w_i their work, y_i their times.

Two laws are fitted, both to relative errors, so that small operators count as much as large ones:

    work    y = a + b * FLOPs + c * bytes moved,  a, b, c >= 0
    power   log y = a + sum_j b_j log x_j (+ products of two logarithms, where n allows it)

The law with the smaller error on operators left out of its fit, one after the other, is taken, and
that error is its error bar: the root mean square of ``prediction / y - 1``. Neither is asked for
anything outside of the box that the measured sizes span.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: Weights of a law's terms, and how it was fitted: terms and times to weights.
_Fit = Callable[[Floats, Floats], Floats]

#: Fewest measured operators; with fewer, what is left out says too little about the error.
LEAST_POINTS = 5
#: Measured operators that a law must have beyond the numbers in it.
_SPARE_POINTS = 2


@dataclass(frozen=True, eq=False)
class Law:
    """How times of one kind follow from sizes or work.

    Attributes:
        name: ``work`` or ``power``.
        error: Root mean square of relative errors on operators left out of the fit.
        points: Operators it was fitted to.
        terms: ``(m, d)`` sizes and ``(m, 2)`` work, or None, to ``(m, p)`` terms.
        weights: ``(p,)``.
    """

    name: str
    error: float
    points: int
    terms: Callable[[Floats, Floats | None], Floats]
    weights: Floats

    def __call__(self, sizes: Sequence[float], work: Sequence[float] | None) -> float:
        """The time of one operator."""
        terms = self.terms(
            np.array([sizes], dtype=np.float64),
            None if work is None else np.array([work], dtype=np.float64),
        )
        return float(_times(self.name, terms, self.weights)[0])


def fit_law(sizes: Floats, work: Floats | None, times: Floats) -> Law | None:
    """The law with the smaller error on operators left out.

    Args:
        sizes: ``(n, d)``, positive.
        work: ``(n, 2)`` FLOPs and bytes; None where it cannot be counted.
        times: ``(n,)``, positive.

    Returns:
        The law; None if there are too few operators for any.
    """
    if len(times) < LEAST_POINTS:
        return None
    found = [
        Law(name, _left_out_error(name, terms(sizes, work), times), len(times), terms, weights)
        for name, terms in (
            *([] if work is None else [("work", _work_terms)]),
            ("power", _power_terms),
            ("power", _quadratic_terms),
        )
        if len(times) >= terms(sizes, work).shape[1] + _SPARE_POINTS
        for weights in [_weights(name, terms(sizes, work), times)]
    ]
    return min(found, key=lambda law: law.error, default=None)


def least_points(sizes: int, *, counted: bool) -> int:
    """Measured operators that some law can be fitted to.

    Args:
        sizes: d, how many sizes are interpolated.
        counted: Whether their work is known.
    """
    one = np.ones((1, sizes))
    laws = [_power_terms(one, None), *([_work_terms(one, np.ones((1, 2)))] if counted else [])]
    return max(LEAST_POINTS, min(terms.shape[1] for terms in laws) + _SPARE_POINTS)


def _work_terms(sizes: Floats, work: Floats | None) -> Floats:
    assert work is not None
    return np.column_stack([np.ones(len(work)), work])


def _power_terms(sizes: Floats, work: Floats | None) -> Floats:
    return np.column_stack([np.ones(len(sizes)), np.log(sizes)])


def _quadratic_terms(sizes: Floats, work: Floats | None) -> Floats:
    logs = np.log(sizes)
    pairs = itertools.combinations_with_replacement(range(logs.shape[1]), 2)
    products = [logs[:, i] * logs[:, j] for i, j in pairs]
    return np.column_stack([np.ones(len(sizes)), logs, *products])


def _weights(name: str, terms: Floats, times: Floats) -> Floats:
    if name == "work":
        return nonnegative_least_squares(terms / times[:, None], np.ones(len(times)))
    return np.asarray(np.linalg.lstsq(terms, np.log(times), rcond=None)[0], dtype=np.float64)


def _times(name: str, terms: Floats, weights: Floats) -> Floats:
    found: Floats = terms @ weights
    return found if name == "work" else np.exp(found)


def _left_out_error(name: str, terms: Floats, times: Floats) -> float:
    """Root mean square of the relative errors on each operator, fitted without it."""
    errors = []
    for i in range(len(times)):
        others = np.arange(len(times)) != i
        weights = _weights(name, terms[others], times[others])
        errors.append(_times(name, terms[i : i + 1], weights)[0] / times[i] - 1.0)
    return float(np.sqrt(np.mean(np.square(errors))))


def nonnegative_least_squares(matrix: Floats, target: Floats) -> Floats:
    """``min |matrix x - target|`` over x >= 0, by trying every set of columns: for a few of them.

    The optimum is the unconstrained one on the columns where it is positive; so of all sets whose
    unconstrained optimum has no negative entry, the best is it.

    Args:
        matrix: ``(n, p)``.
        target: ``(n,)``.

    Returns:
        ``(p,)``.
    """
    scale = np.abs(matrix).max(axis=0)
    scaled = matrix / np.where(scale > 0, scale, 1.0)
    best, least = np.zeros(matrix.shape[1]), float(target @ target)
    columns = range(matrix.shape[1])
    for size in range(1, matrix.shape[1] + 1):
        for taken in itertools.combinations(columns, size):
            part = list(taken)
            solution = np.linalg.lstsq(scaled[:, part], target, rcond=None)[0]
            missed = scaled[:, part] @ solution - target
            if (solution >= 0).all() and float(missed @ missed) < least:
                best, least = np.zeros(matrix.shape[1]), float(missed @ missed)
                best[part] = solution
    return best / np.where(scale > 0, scale, 1.0)
