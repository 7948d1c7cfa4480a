"""Evaluation of any forward function on a loader, without gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnas.data.batch import Batch
from dnas.data.loader import Loader
from dnas.training.task import MetricAccumulator


def evaluate(
    module: nn.Module,
    forward: Callable[[Batch], Tensor],
    loader: Loader,
    metrics: MetricAccumulator,
    device: torch.device,
) -> dict[str, float | None]:
    """Metrics of ``forward`` over one epoch of ``loader``.

    Args:
        module: Put into evaluation mode meanwhile.
        forward: Outputs of a batch that is already on ``device``.
        loader: Every row once.
        metrics: An empty accumulator.
        device: Where to compute.
    """
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            for batch in loader.batches(0, len(loader)):
                moved = batch.to(device)
                metrics.update(forward(moved), moved.labels)
    finally:
        module.train(was_training)
    return metrics.compute()
