"""Batch norms of a candidate, with statistics of its own.

The running statistics of a supernet's batch norms are averages over paths: a batch norm is fed by
other layers in each of them. So they are those of no architecture, and have to be computed anew for
every candidate before it is judged, as AutoTower [AutoTower]_ does by 200 forward passes in
training mode. Here nothing but the batch norms is in training mode, so that dropout is off, there
are no gradients, and nothing of the supernet is written to: while a candidate is judged its batch
norms have other buffers.

.. [AutoTower] AutoTower: Efficient Neural Architecture Search for Two-Tower Recommendation.
    Section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dnas.core.modes import evaluating
from dnas.data.batch import Batch

#: Of a batch norm: what forward passes in training mode write to.
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def batch_norms(module: nn.Module) -> list[_BatchNorm]:
    """The batch norms in ``module`` that have running statistics."""
    return [
        found
        for found in module.modules()
        if isinstance(found, _BatchNorm) and found.running_mean is not None
    ]


@contextmanager
def recalibrated(
    module: nn.Module, forward: Callable[[Batch], object], batches: Sequence[Batch]
) -> Iterator[None]:
    """Meanwhile, the batch norms that ``forward`` uses have the statistics of ``batches``.

    Mean and variance of each batch norm are averages over the batches, all of equal weight; in
    each pass the layers behind see values that were normalised by the batch's own statistics, as in
    training. Batch norms that ``forward`` does not use keep what they have. Afterwards the module
    has its own buffers again, which were not written to at any time.

    Args:
        module: In evaluation mode meanwhile.
        forward: One pass over a batch.
        batches: On the device of ``module``, of the same number of rows, at least 2.
    """
    norms = batch_norms(module)
    kept = [(norm.momentum, {name: getattr(norm, name) for name in _STATISTICS}) for norm in norms]
    with evaluating(module):
        try:
            for norm in norms:
                norm.train()
                norm.momentum = None  # an average over all batches, not a moving one
                for name in _STATISTICS:
                    setattr(norm, name, torch.zeros_like(getattr(norm, name)))
            with torch.no_grad():
                for batch in batches:
                    forward(batch)
            for norm, (_, statistics) in zip(norms, kept, strict=True):
                norm.eval()
                if not int(norm.num_batches_tracked):  # type: ignore[arg-type]
                    _restore(norm, statistics)
            yield
        finally:
            for norm, (momentum, statistics) in zip(norms, kept, strict=True):
                norm.momentum = momentum
                _restore(norm, statistics)


def _restore(norm: nn.Module, statistics: dict[str, torch.Tensor]) -> None:
    for name, value in statistics.items():
        setattr(norm, name, value)
