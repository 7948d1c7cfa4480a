"""bf16 where it is worth it: ``torch.autocast`` around the forward pass.

Weights, their gradients and the optimizers' states stay float32; what autocast knows as safe and
fast (matrix products) is computed in bfloat16. Embedding look-ups, the sampling of architectures,
costs and the loss stay float32, and so does validation.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor

from dnas.errors import ConfigError

Precision = Literal["float32", "bfloat16"]


def check_precision(precision: str) -> None:
    """Refuse other names.

    Raises:
        ConfigError: Not a :data:`Precision`.
    """
    if precision not in get_args(Precision):
        raise ConfigError(
            f"precision must be one of {', '.join(get_args(Precision))}, but got {precision!r}"
        )


def computing_in(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The forward pass goes into this block."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def for_loss(outputs: Tensor, precision: str) -> Tensor:
    """Outputs in the dtype that the loss is computed in."""
    return outputs if precision == "float32" else outputs.float()
