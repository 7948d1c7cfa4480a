"""Post-training fine-tuning: the last layer of a candidate, trained on frozen features.

"Fine-tuning the last FC on the target dataset for a few training steps (e.g., 0.5K) is good enough"
[Zhang2023nasrec]_. Everything before the last layer is frozen, so the features of all rows are
computed once, and this is a regression on them: no step goes through the network.

Letters: n cached rows, H inputs of the last layer.

.. [Zhang2023nasrec] T. Zhang et al. NASRec: Weight Sharing Neural Architecture Search for
    Recommender Systems. WWW 2023, arXiv:2207.07187. Section 4.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core.schedules import cosine
from dnas.errors import ConfigError
from dnas.training.loss import LossFunction


@dataclass(frozen=True, kw_only=True)
class FineTune:
    """How the last layer is trained: Adagrad, linear warm-up from 0, then a cosine to 0.

    Attributes:
        steps: Minibatch steps.
        batch_size: Rows of a step.
        lr: Largest learning rate.
        lr_warmup_fraction: Share of the steps in which the learning rate rises.
        eps: Of Adagrad.
    """

    steps: int = 500
    batch_size: int = 256
    lr: float = 0.04
    lr_warmup_fraction: float = 0.1
    eps: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"finetune_{name} must be at least 1: {getattr(self, name)}")
        if not self.lr > 0:
            raise ConfigError(f"finetune_lr must be positive, but got {self.lr}")


def minibatch(step: int, batch_size: int, rows: int) -> slice | Tensor:
    """Which of the cached rows a step trains: the next ``batch_size``, from the start at the end.

    Returns:
        A slice, or ``(batch_size,)`` row numbers where the rows begin again.
    """
    start = step * batch_size % rows
    if start + batch_size <= rows:
        return slice(start, start + batch_size)
    return torch.arange(start, start + batch_size) % rows


def fine_tune_head(
    features: Tensor,
    labels: Tensor,
    weight: Tensor,
    bias: Tensor,
    loss_function: LossFunction,
    settings: FineTune,
) -> tuple[Tensor, Tensor]:
    """Train ``logits = features @ weight + bias``; the arguments are left as they are.

    Args:
        features: ``(n, H)``.
        labels: ``(n,)``.
        weight: ``(H,)`` to start from.
        bias: ``()`` to start from.
        loss_function: ``(logits, labels) ->`` scalar mean.
        settings: Of the training.

    Returns:
        Weight and bias, detached.
    """
    weight = weight.detach().clone().requires_grad_()
    bias = bias.detach().clone().requires_grad_()
    optimizer = torch.optim.Adagrad([weight, bias], lr=settings.lr, eps=settings.eps)
    factor = cosine(settings.steps, settings.lr_warmup_fraction * settings.steps)
    with torch.enable_grad():
        for step in range(settings.steps):
            rows = minibatch(step, settings.batch_size, len(labels))
            if isinstance(rows, Tensor):
                rows = rows.to(features.device)
            for group in optimizer.param_groups:
                group["lr"] = settings.lr * factor(step)
            optimizer.zero_grad()
            loss_function(features[rows] @ weight + bias, labels[rows]).backward()
            optimizer.step()
    return weight.detach(), bias.detach()
