"""Running statistics of norms, which batches of another phase must not enter."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


class RunningStatistics:
    """Lets the norms of a module follow the batches that they see in training, or not.

    In training they normalize by the batch either way, and elsewhere by what they have followed.

    Args:
        module: Its norms are found once.
    """

    def __init__(self, module: nn.Module) -> None:
        found = [norm for norm in module.modules() if isinstance(norm, _NormBase)]
        self._tracks = {norm: norm.track_running_stats for norm in found}
        self._momentum = {norm: norm.momentum for norm in found}

    def update(self, follows: bool) -> None:
        """Follow batches as at first, or not at all."""
        for norm, tracks in self._tracks.items():
            if isinstance(norm, _BatchNorm):
                # Momentum 0 would not do: the number of batches, which divides where momentum is
                # None, would grow.
                norm.track_running_stats = tracks and follows
            else:  # of instances: without tracking they normalize by the input everywhere
                norm.momentum = self._momentum[norm] if follows else 0.0
