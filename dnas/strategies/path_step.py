"""One step of one-shot training: one path of the supernet, trained on one batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from dnas.core import Architecture, SuperNet
from dnas.data.batch import Batch, check_batch
from dnas.training.clipping import clip_grad_norm
from dnas.training.loss import loss_of
from dnas.training.optim import OptimizerClass
from dnas.training.supernet_weights import make_optimizer, trainable_weights

LossFunction = Callable[[Tensor, Tensor], Tensor]


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

    Args:
        super_net: On ``device``.
        optimizer_class: For example ``torch.optim.Adagrad``.
        lr: Initial learning rate of all weights.
        init_params: Further arguments of ``optimizer_class``.
        clip: Joint L2 norm above which gradients are scaled down.
        loss_function: ``(outputs, labels) ->`` scalar mean.
        device: Where to train.
    """
    if isinstance(super_net, OffersPathStep):
        own = super_net.path_step(optimizer_class, lr, init_params, clip, loss_function, device)
        if own is not None:
            return own
    return GeneralPathStep(super_net, optimizer_class, lr, init_params, clip, loss_function, device)


class GeneralPathStep:
    """The step of any SuperNet: ``forward`` under the path's one-hot sample.

    Weights that the path does not use have no gradient, and keep their values and their
    optimizer's state. The arguments are those of :func:`make_path_step`.
    """

    def __init__(
        self,
        super_net: SuperNet,
        optimizer_class: OptimizerClass,
        lr: float,
        init_params: Mapping[str, Any],
        clip: float,
        loss_function: LossFunction,
        device: torch.device,
    ) -> None:
        self.super_net = super_net
        self.clip = clip
        self.loss_function = loss_function
        self.device = device
        self.optimizer = make_optimizer(
            super_net, optimizer_class, trainable_weights(super_net), [lr], init_params
        )

    def __call__(self, batch: Batch, architecture: Architecture) -> Tensor:
        """One step on ``batch``; the task loss, detached."""
        check_batch(batch)
        self.optimizer.zero_grad()
        batch = batch.to(self.device)
        outputs = self.super_net(*batch.inputs, sample=self.super_net.one_hot_sample(architecture))
        loss = loss_of(self.loss_function, outputs, batch.labels)
        loss.backward()
        clip_grad_norm(self.optimizer.parameters(), self.clip)
        self.optimizer.step()
        return loss.detach()

    def set_lr(self, factor: float) -> None:
        """Learning rates are from now on the initial ones times ``factor``."""
        self.optimizer.set_lr(factor, [lambda value: value])

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.optimizer.load_state_dict(state)
