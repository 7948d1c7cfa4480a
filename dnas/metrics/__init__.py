"""Metrics: of clicks (log loss, AUC, normalized entropy, calibration), and of classes."""

from dnas.metrics.accumulator import BinaryMetrics
from dnas.metrics.binary import (
    NonFiniteError,
    auc,
    calibration,
    log_loss,
    log_loss_from_logits,
    normalized_entropy,
)
from dnas.metrics.classes import ClassMetrics

__all__ = [
    "BinaryMetrics",
    "ClassMetrics",
    "NonFiniteError",
    "auc",
    "calibration",
    "log_loss",
    "log_loss_from_logits",
    "normalized_entropy",
]
