"""What metric accumulators give, checked: before anything is trained, and at every evaluation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core.modes import evaluating
from dnas.data.batch import Batch
from dnas.data.loader import Loader
from dnas.errors import ConfigError, DataError
from dnas.metrics import NonFiniteError
from dnas.training.task import MetricAccumulator, Task

logger = logging.getLogger(__name__)


def check_accumulator(accumulator: Any) -> None:
    """Refuse what is no accumulator.

    Raises:
        ConfigError: It lacks a method.
    """
    for method in ("update", "compute"):
        if not callable(getattr(accumulator, method, None)):
            raise ConfigError(
                f"metrics makes a {type(accumulator).__name__}, which has no method {method}; it "
                "must make an object with update(outputs, labels) and compute()"
            )


def check_metrics(found: Any) -> dict[str, float | None]:
    """What ``compute()`` gave, if it is metrics.

    Args:
        found: Metric name -> number, or None where it is undefined.

    Raises:
        ConfigError: It is something else, such as a tensor.
    """
    if not isinstance(found, Mapping) or not found:
        raise ConfigError(
            f"compute() of the metrics gives {_said(found)}; return a dict, metric name -> float, "
            "or None where it is undefined"
        )
    for name, value in found.items():
        if not isinstance(name, str):
            raise ConfigError(f"compute() of the metrics gives {name!r} as a name; give a string")
        if value is not None and not isinstance(value, int | float):
            raise ConfigError(
                f"compute()[{name!r}] of the metrics is {_said(value)}; give a float, for example "
                "float(value), or None where it is undefined"
            )
    return dict(found)


def check_finite_metrics(
    metrics: Mapping[str, float | None], part: str, outputs_finite: Callable[[], bool]
) -> None:
    """Refuse metrics that are NaN or infinite.

    Args:
        metrics: As :func:`check_metrics` gives them.
        part: Of the data, for the message.
        outputs_finite: Whether all of the model's outputs were; asked only if needed.

    Raises:
        NonFiniteError: The model's outputs were not: training diverged.
        DataError: They were, so that it is the labels or the metric.
    """
    for name, value in metrics.items():
        if value is None or math.isfinite(value):
            continue
        if not outputs_finite():
            raise NonFiniteError(f"metric {name!r} is {value}: the outputs are not finite")
        raise DataError(
            f"metric {name!r} of the {part} part is {value}, though all outputs of the model are "
            f"finite: look for NaN and infinity in the labels of {part}; if the metric is "
            "undefined there, compute() must give None"
        )


def check_task(
    task: Task,
    module: nn.Module,
    forward: Callable[[Batch], Tensor],
    loader: Loader,
    device: torch.device,
) -> None:
    """Compute the metrics of the first validation batch: their mistakes are to cost no training.

    Metrics that cannot be computed of so few rows are left unchecked, with a warning.

    Args:
        task: Whose metrics and selection are checked.
        module: Untrained; on ``device``, and put into evaluation mode meanwhile.
        forward: Outputs of a batch that is on ``device``.
        loader: Of the validation part.
        device: Where to compute.

    Raises:
        ConfigError: The metrics are no accumulator, do not give a dict of numbers, or ``selection``
            is none of them.
    """
    accumulator: MetricAccumulator = task.metrics()
    check_accumulator(accumulator)
    with evaluating(module), torch.no_grad():
        for batch in loader.batches(0, 1):
            outputs = forward(batch.to(device))
            labels = batch.labels.to(device)
    try:
        accumulator.update(outputs, labels)
        computed = accumulator.compute()
    except Exception as error:  # whatever somebody's metric raises on a few rows
        logger.warning(
            "the metrics of the first %d rows of validation cannot be computed (%s: %s), so that "
            "selection %r is not checked before training",
            len(labels),
            type(error).__name__,
            error,
            task.selection,
        )
        return
    found = check_metrics(computed)
    if task.names is None and task.selection not in found:
        raise ConfigError(
            f"selection {task.selection!r} is no metric; compute() gives {', '.join(found)}"
        )


def _said(value: object) -> str:
    return f"{value!r:.60} ({type(value).__name__})"
