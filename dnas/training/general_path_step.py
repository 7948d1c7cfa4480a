"""The step of one-shot training that every SuperNet has: a path, by ``forward``, on one batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dnas.core import Architecture, SuperNet
from dnas.data.batch import Batch, check_batch
from dnas.training.clipping import clip_grad_norm
from dnas.training.loss import LossFunction, loss_of
from dnas.training.optim import OptimizerClass
from dnas.training.supernet_weights import make_optimizer, trainable_weights


class GeneralPathStep:
    """Trains paths of any SuperNet by ``forward`` under the path's one-hot sample.

    Weights that the path does not use have no gradient, and keep their values and their
    optimizer's state. A SuperNet with a step of its own (``dnas.strategies.path_step``) may derive
    it from this one and override :meth:`losses`.

    Args:
        super_net: On ``device``.
        optimizer_class: For example ``torch.optim.Adagrad``.
        lr: Initial learning rate of all weights.
        init_params: Further arguments of ``optimizer_class``.
        clip: Joint L2 norm above which gradients are scaled down.
        loss_function: ``(outputs, labels) ->`` scalar mean.
        device: Where to train.
        beside: What is trained in every step beside the supernet, and is no part of it; on
            ``device``.

    Raises:
        ConfigError: All weights of the supernet are frozen.
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
        *,
        beside: nn.Module | None = None,
    ) -> None:
        self.super_net = super_net
        self.clip = clip
        self.loss_function = loss_function
        self.device = device
        self.beside = beside
        weights = trainable_weights(super_net)
        if weights and beside is not None:  # to train the latter alone would be in vain
            weights += beside.parameters()
        self.optimizer = make_optimizer(super_net, optimizer_class, weights, [lr], init_params)

    def __call__(self, batch: Batch, architecture: Architecture) -> Tensor:
        """One step on ``batch``; the path's own task loss, detached."""
        check_batch(batch)
        self.optimizer.zero_grad()
        own, trained = self.losses(batch.to(self.device), architecture)
        trained.backward()
        clip_grad_norm(self.optimizer.parameters(), self.clip)
        self.optimizer.step()
        return own.detach()

    def losses(self, batch: Batch, architecture: Architecture) -> tuple[Tensor, Tensor]:
        """The path's own task loss, and what is trained, here the same.

        Args:
            batch: On the device.
            architecture: The path.
        """
        outputs = self.super_net(*batch.inputs, sample=self.super_net.one_hot_sample(architecture))
        loss = loss_of(self.loss_function, outputs, batch.labels)
        return loss, loss

    def set_lr(self, factor: float) -> None:
        """Learning rates are from now on the initial ones times ``factor``."""
        self.optimizer.set_lr(factor, [lambda value: value])

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and what is trained beside the supernet."""
        if self.beside is None:
            return self.optimizer.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "beside": self.beside.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        if self.beside is None:
            self.optimizer.load_state_dict(state)
            return
        self.optimizer.load_state_dict(state["optimizer"])
        self.beside.load_state_dict(state["beside"])
