"""Metrics of a binary prediction, as pure functions computed in float64.

Letters: ``p`` predicted probability of a click, ``z`` its logit, ``y`` the label (0 or 1), all of
shape ``(n,)``. Each function returns a Python number, so on a GPU each one waits for the device
once or twice; inside a loop over batches use :class:`dnas.metrics.BinaryMetrics`, which does not.

A metric that these rows do not define is ``None`` (JSON has no NaN): AUC and normalized entropy
when only one class is there, calibration when there is no click.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from dnas.errors import DataError, DnasError

#: Probabilities are kept this far from 0 and 1 by :func:`log_loss`: the spacing of float64 at 1,
#: so that one certain and wrong prediction costs 36.04 and not infinity.
PROBABILITY_EPSILON = 2.0**-52

NO_ROWS = "metrics of no rows at all are not defined: is the data split empty?"


class NonFiniteError(DnasError):
    """Predictions contain NaN or infinity, so no metric of them means anything."""


def log_loss_from_logits(logits: Tensor, labels: Tensor) -> float:
    """Mean logistic loss, ``mean(max(z, 0) - z y + log(1 + exp(-|z|)))``, stable at any logit.

    Args:
        logits: ``z``, shape ``(n,)`` or any shape of n elements.
        labels: ``y`` in {0, 1}, as many elements as ``logits``.

    Returns:
        The loss in nats per row.

    Raises:
        DataError: No rows, two different sizes, or a label that is not 0 or 1.
        NonFiniteError: A logit is NaN or infinite.
    """
    z, y = _checked("logits", logits, labels)
    return float(functional.binary_cross_entropy_with_logits(z.double(), y.double()))


def log_loss(probabilities: Tensor, labels: Tensor) -> float:
    """Mean logistic loss from probabilities, ``-mean(y log p + (1 - y) log(1 - p))``.

    Prefer :func:`log_loss_from_logits`: a float32 probability above 1 - 6e-8 has already been
    rounded to 1. Here p is clamped to ``[PROBABILITY_EPSILON, 1 - PROBABILITY_EPSILON]``.

    Args:
        probabilities: ``p``, shape ``(n,)``, each in [0, 1].
        labels: ``y`` in {0, 1}, shape ``(n,)``.

    Raises:
        DataError: As above, or a probability outside [0, 1].
        NonFiniteError: A probability is NaN or infinite.
    """
    p, y = _checked("probabilities", probabilities, labels)
    p, y = _in_unit_interval(p), y.double()
    p = p.clamp(PROBABILITY_EPSILON, 1.0 - PROBABILITY_EPSILON)
    return float(-(y * p.log() + (1.0 - y) * torch.log1p(-p)).mean())


def auc(scores: Tensor, labels: Tensor) -> float | None:
    """Area under the ROC curve: the share of (click, no click) pairs in the right order.

    Exact, and equal to the Mann-Whitney form with average ranks for ties,
    ``(sum of the ranks of the P clicks - P (P + 1) / 2) / (P N)``: a tied pair counts one half.
    Pairs are counted in 64-bit integers, so the only rounding is that of the last division.

    Args:
        scores: Anything that rises with p (logits, probabilities), shape ``(n,)``.
        labels: ``y`` in {0, 1}, shape ``(n,)``.

    Returns:
        A number in [0, 1], or None when one of the classes is absent.

    Raises:
        DataError: No rows, two different sizes, or a label that is not 0 or 1.
        NonFiniteError: A score is NaN or infinite.
    """
    s, y = _checked("scores", scores, labels)
    ordered, order = torch.sort(s)
    sizes = torch.unique_consecutive(ordered, return_counts=True)[1]  # (groups of ties,)
    last = sizes.cumsum(0) - 1  # (groups,) where each group of ties ends
    clicks_so_far = (y != 0)[order].cumsum(0)[last]  # (groups,)
    clicks = clicks_so_far.diff(prepend=clicks_so_far.new_zeros(1))  # (groups,)
    others = sizes - clicks
    others_below = others.cumsum(0) - others
    total_clicks = int(clicks_so_far[-1])
    pairs = total_clicks * (s.numel() - total_clicks)
    if pairs == 0:
        return None
    return int((clicks * (2 * others_below + others)).sum()) / (2 * pairs)


def normalized_entropy(log_loss: float, label_rate: float) -> float | None:
    """Log loss over the entropy of the base rate: 1 is as good as always saying the click rate.

    He et al., "Practical lessons from predicting clicks on ads at Facebook", 2014.

    Args:
        log_loss: Mean logistic loss in nats.
        label_rate: Share of clicks r; the entropy is ``-(r log r + (1 - r) log(1 - r))``.

    Returns:
        The ratio, or None when r is 0 or 1, where the entropy is zero.

    Raises:
        DataError: The rate is outside [0, 1].
    """
    if not 0.0 <= label_rate <= 1.0:
        raise DataError(f"label_rate is a share of rows and must be in [0, 1], got {label_rate!r}")
    if label_rate in (0.0, 1.0):
        return None
    entropy = -(label_rate * math.log(label_rate) + (1.0 - label_rate) * math.log1p(-label_rate))
    return log_loss / entropy


def calibration(probabilities: Tensor, labels: Tensor) -> float | None:
    """Predicted clicks over observed clicks, ``sum(p) / sum(y)``; 1 is calibrated.

    Footnote 3 of "DNAS" (arXiv 2110.14812); its tables show the distance ``|calibration - 1|``.

    Args:
        probabilities: ``p``, shape ``(n,)``, each in [0, 1].
        labels: ``y`` in {0, 1}, shape ``(n,)``.

    Returns:
        The ratio, or None when there is no click.

    Raises:
        DataError: No rows, two sizes, a label not 0 or 1, or a probability outside [0, 1].
        NonFiniteError: A probability is NaN or infinite.
    """
    p, y = _checked("probabilities", probabilities, labels)
    clicks = int((y != 0).sum())
    return float(_in_unit_interval(p).sum()) / clicks if clicks else None


def raise_if_unusable(
    *, rows: int, non_finite: int, bad_labels: int, what: str = "logits", labels: str = "labels"
) -> None:
    """Turn counts of what is wrong into the error that names them.

    Raises:
        DataError: ``rows`` is 0, or ``bad_labels`` is not.
        NonFiniteError: ``non_finite`` is not 0.
    """
    if rows == 0:
        raise DataError(NO_ROWS)
    if bad_labels:
        raise DataError(
            f"{bad_labels} of {rows} {labels} are neither 0 nor 1; map the label column to 0 and 1"
        )
    if non_finite:
        raise NonFiniteError(
            f"{non_finite} of {rows} {what} are NaN or infinite: the model has diverged; "
            "lower the learning rate or clip the gradient"
        )


def _checked(what: str, predictions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Flat ``(n,)`` views, of equal size, finite and binary; half precision becomes float32."""
    if predictions.numel() != labels.numel():
        raise DataError(
            f"{predictions.numel()} {what} (shape {tuple(predictions.shape)}) but "
            f"{labels.numel()} labels (shape {tuple(labels.shape)})"
        )
    x = predictions.detach().reshape(-1)
    y = labels.detach().reshape(-1)
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    raise_if_unusable(
        rows=x.numel(),
        non_finite=int((~torch.isfinite(x)).sum()),
        bad_labels=int(((y != 0) & (y != 1)).sum()),
        what=what,
    )
    return x, y


def _in_unit_interval(p: Tensor) -> Tensor:
    """``p`` in float64, once it is known to hold probabilities."""
    outside = int(((p < 0) | (p > 1)).sum())
    if outside:
        raise DataError(
            f"{outside} of {p.numel()} probabilities are outside [0, 1]; "
            "give sigmoid(logits), or call the function that takes logits"
        )
    return p.double()
