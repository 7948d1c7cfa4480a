"""One step of one-shot training: one path of the supernet, trained on one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dnas.core import Architecture, SuperNet
from dnas.data.batch import Batch
from dnas.training.general_path_step import GeneralPathStep
from dnas.training.loss import LossFunction
from dnas.training.optim import OptimizerClass


class PathStep(Protocol):
    """Trains the weights that a path uses, and holds the state of their optimizer."""

    def __call__(self, batch: Batch, architecture: Architecture) -> Tensor:
        """One step on ``batch``; the task loss, a detached scalar on the device."""

    def set_lr(self, factor: float) -> None:
        """Learning rates are from now on the initial ones times ``factor``."""

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state: tensors and plain values."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""


@runtime_checkable
class OffersPathStep(Protocol):
    """An optional capability of a SuperNet: a step of its own, faster than the general one."""

    def path_step(
        self,
        optimizer_class: OptimizerClass,
        lr: float,
        init_params: Mapping[str, Any],
        clip: float,
        loss_function: LossFunction,
        device: torch.device,
    ) -> PathStep | None:
        """The arguments are those of :func:`make_path_step`; None: use the general step."""


def make_path_step(
    super_net: SuperNet,
    optimizer_class: OptimizerClass,
    lr: float,
    init_params: Mapping[str, Any],
    clip: float,
    loss_function: LossFunction,
    device: torch.device,
) -> PathStep:
    """The step that trains paths of ``super_net``: its own one if it offers that.

    The arguments are those of :class:`~dnas.training.general_path_step.GeneralPathStep`.
    """
    if isinstance(super_net, OffersPathStep):
        own = super_net.path_step(optimizer_class, lr, init_params, clip, loss_function, device)
        if own is not None:
            return own
    return GeneralPathStep(super_net, optimizer_class, lr, init_params, clip, loss_function, device)
