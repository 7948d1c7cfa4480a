"""Metrics of click prediction: log loss, AUC, normalized entropy, calibration."""

from dnas.metrics.accumulator import BinaryMetrics
from dnas.metrics.binary import (
    NonFiniteError,
    auc,
    calibration,
    log_loss,
    log_loss_from_logits,
    normalized_entropy,
)

__all__ = [
    "BinaryMetrics",
    "NonFiniteError",
    "auc",
    "calibration",
    "log_loss",
    "log_loss_from_logits",
    "normalized_entropy",
]
