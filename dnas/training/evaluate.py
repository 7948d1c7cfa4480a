"""Evaluation of any forward function on a loader, without gradients."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dnas.data.batch import Batch
from dnas.data.loader import Loader
from dnas.training.task import MetricAccumulator
from dnas.training.world import Share, World


def evaluate(
    module: nn.Module,
    forward: Callable[[Batch, Share], Tensor],
    loader: Loader,
    metrics: MetricAccumulator,
    device: torch.device,
    world: World | None = None,
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
    """
    world = world or World()
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            for batch in loader.batches(0, len(loader)):
                share = world.share(len(batch.labels))
                outputs = forward(world.local(batch, share).to(device), share)
                metrics.update(world.gather(outputs, share), batch.labels.to(device))
    finally:
        module.train(was_training)
    return metrics.compute()
