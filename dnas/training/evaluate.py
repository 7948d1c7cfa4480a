"""Evaluation of any forward function on a loader, without gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnas.core.modes import evaluating
from dnas.data.batch import Batch
from dnas.data.loader import Loader
from dnas.training.judging import check_accumulator, check_finite_metrics, check_metrics
from dnas.training.task import MetricAccumulator
from dnas.training.world import Share, World


def evaluate(
    module: nn.Module,
    forward: Callable[[Batch, Share], Tensor],
    loader: Loader,
    metrics: MetricAccumulator,
    device: torch.device,
    world: World | None = None,
    part: str | None = None,
) -> dict[str, float | None]:
    """Metrics of ``forward`` over one epoch of ``loader``.

    Several processes compute an equal share of the rows each, and all get the metrics of all rows.

    Args:
        module: Put into evaluation mode meanwhile.
        forward: Outputs of a batch that is already on ``device``, and holds the rows of a share.
        loader: Every row once.
        metrics: An empty accumulator.
        device: Where to compute.
        world: The processes that compute; None: this one alone.
        part: Of the data: NaN and infinity are refused in its metrics. None: they are given.

    Raises:
        ConfigError: ``metrics`` is no accumulator, or does not give a dict of numbers.
        NonFiniteError: A metric of ``part`` is not finite, nor are the outputs.
        DataError: A metric of ``part`` is not finite, though the outputs are.
    """
    check_accumulator(metrics)
    world = world or World()
    finite: list[Tensor] = []
    with evaluating(module), torch.no_grad():
        for batch in loader.batches(0, len(loader)):
            share = world.share(len(batch.labels))
            outputs = forward(world.local(batch, share).to(device), share)
            outputs = world.gather(outputs, share)
            metrics.update(outputs, batch.labels.to(device))
            finite.append(torch.isfinite(outputs).all())
    found = check_metrics(metrics.compute())
    if part is not None:
        # Nothing is read from the device unless a metric is wrong.
        check_finite_metrics(found, part, lambda: bool(torch.stack(finite).all()))
    return found
