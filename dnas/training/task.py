"""Task: what is predicted, with which loss, judged by which metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from dnas.metrics import BinaryMetrics, ClassMetrics

#: Metric name -> value; None where it is undefined (AUC with one class).
Metrics = Mapping[str, float | None]


class MetricAccumulator(Protocol):
    """Collects outputs of many batches."""

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Add a batch."""

    def compute(self) -> dict[str, float | None]:
        """The metrics of everything added."""


@dataclass(frozen=True)
class Task:
    """A loss to train with and metrics to judge by.

    Attributes:
        loss: ``(outputs, labels) ->`` scalar mean loss.
        metrics: Makes an empty accumulator.
        selection: Metric by which the best epoch is chosen.
        maximize: Whether a larger ``selection`` is better.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: Callable[[], MetricAccumulator]
    selection: str
    maximize: bool = False

    def score(self, metrics: Metrics) -> float:
        """``selection`` with its sign such that lower is better."""
        value = metrics[self.selection]
        if value is None:
            return float("inf")
        return -value if self.maximize else value


#: Clicks: binary labels, logits, log loss.
CLICKS = Task(
    loss=F.binary_cross_entropy_with_logits,
    metrics=BinaryMetrics,
    selection="logloss",
)

#: Classes: integer labels (B,), logits (B, classes), log loss.
CLASSES = Task(loss=F.cross_entropy, metrics=ClassMetrics, selection="logloss")
