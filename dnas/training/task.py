"""Task: what is predicted, with which loss, judged by which metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor

from dnas.errors import ConfigError
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
        names: Metrics of validation, where a single batch does not show them all; None: every
            batch does.
        tells: Whether a batch with these labels has a part in ``selection``: where candidates are
            compared by nothing else the other batches are left out. None: every batch has.

    Raises:
        ConfigError: A function is none, or ``selection`` is not among ``names``.
    """

    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: Callable[[], MetricAccumulator]
    selection: str
    maximize: bool = False
    names: tuple[str, ...] | None = None
    tells: Callable[[Tensor], bool] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.loss, type):
            raise ConfigError(
                f"Task: loss is the class {self.loss.__name__}; give a function of outputs and "
                f"labels, for example an instance: {self.loss.__name__}()"
            )
        if not callable(self.loss):
            raise ConfigError(
                f"Task: loss is {self.loss!r:.80}; give a function of outputs and labels, for "
                "example torch.nn.functional.mse_loss"
            )
        if not callable(self.metrics):
            kind = type(self.metrics).__name__
            raise ConfigError(
                f"Task: metrics is a {kind}, which cannot be called; give what makes an empty "
                f"accumulator, for example the class: metrics={kind}"
            )
        if not isinstance(self.selection, str) or not self.selection:
            raise ConfigError(f"Task: selection is {self.selection!r}; give the name of a metric")
        if self.names is not None and self.selection not in self.names:
            raise ConfigError(
                f"Task: selection {self.selection!r} is no metric; there are "
                f"{', '.join(self.names)}"
            )

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
