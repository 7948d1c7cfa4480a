"""Evaluators: from an architecture to metrics.

A :class:`SharedWeightsEvaluator` judges an architecture by the supernet's weights, on the same rows
for all. It draws nothing at random and changes nothing in the supernet, so that a candidate's
metrics are the same in whatever order, and in whichever process, candidates are evaluated.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from dnas.core import Architecture, HasHead, SuperNet
from dnas.core.modes import evaluating
from dnas.data.batch import Batch
from dnas.data.loader import Loader
from dnas.errors import ConfigError
from dnas.metrics import NonFiniteError
from dnas.strategies.fine_tune import FineTune, fine_tune_head
from dnas.strategies.recalibration import recalibrated
from dnas.strategies.telling import TellingBatches
from dnas.training.evaluate import evaluate
from dnas.training.task import Metrics, Task
from dnas.training.world import Share

logger = logging.getLogger(__name__)


class Evaluator(Protocol):
    """Judges architectures."""

    def __call__(self, architecture: Architecture) -> Metrics:
        """Metrics of ``architecture``, the same whenever it is asked for."""


def check_head(super_net: SuperNet) -> None:
    """Refuse to fine-tune what has no linear last layer.

    Raises:
        ConfigError: ``super_net`` is not a :class:`~dnas.core.head.HasHead`.
    """
    if not isinstance(super_net, HasHead):
        raise ConfigError(
            f"--finetune_steps: {type(super_net).__name__} has no linear last layer "
            "(dnas.core.head.HasHead) to fine-tune; use --finetune_steps=0"
        )


class SharedWeightsEvaluator:
    """Metrics of architectures with the weights of a trained supernet.

    With fine-tuning, the last layer of each candidate is trained first, on features that are
    computed once: a candidate costs one forward pass over ``tuning_rows`` and ``score_rows``, and
    no backward pass through the network.

    With recalibration, the batch norms of each candidate have statistics of its own first, of
    ``recalibration_rows``.

    Batches that do not tell on the metric by which candidates are compared (``Task.tells``) are
    left out.

    Args:
        super_net: Trained; moved to ``device``, otherwise left as it is.
        task: Loss and metrics.
        score_rows: The rows to judge by, each once.
        tuning_rows: The rows to fine-tune on, each once; kept on the device. Needs ``fine_tune``.
        fine_tune: How to train the last layer; None: not at all.
        recalibration_rows: The rows whose statistics batch norms get, each once, kept on the
            device; an incomplete last batch is left out. None: those of the supernet.
        device: Where to compute.

    Raises:
        ConfigError: Fine-tuning is asked for, and the supernet has no linear head; or no batch
            tells on the task's selection.
    """

    def __init__(
        self,
        super_net: SuperNet,
        task: Task,
        score_rows: Loader,
        *,
        tuning_rows: Loader | None = None,
        fine_tune: FineTune | None = None,
        recalibration_rows: Loader | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if (fine_tune is None) != (tuning_rows is None):
            raise ConfigError("fine_tune and tuning_rows go together: give both or neither")
        if fine_tune is not None:
            check_head(super_net)
        self.device = torch.device(device)
        self.super_net = super_net.to(self.device)
        self.task = task
        self.score_rows: Loader = score_rows
        if task.tells is not None:
            self.score_rows = TellingBatches(score_rows, task.tells, task.selection)
        self.fine_tune = fine_tune
        self.tuning_batches = self._kept(tuning_rows)
        kept = self._kept(recalibration_rows)
        self.recalibration_batches = [b for b in kept if len(b.labels) == len(kept[0].labels)]

    def __call__(self, architecture: Architecture) -> Metrics:
        """The task's metrics; where outputs are not finite, the selecting one is None."""
        with self._recalibrated(architecture):
            return self._metrics(architecture)

    def _kept(self, rows: Loader | None) -> list[Batch]:
        """All batches of ``rows``, on the device."""
        if rows is None:
            return []
        return [batch.to(self.device) for batch in rows.batches(0, len(rows))]

    def _recalibrated(self, architecture: Architecture) -> AbstractContextManager[None]:
        if not self.recalibration_batches:
            return nullcontext()
        sample = self.super_net.one_hot_sample(architecture)
        return recalibrated(
            self.super_net,
            lambda batch: self.super_net(*batch.inputs, sample=sample),
            self.recalibration_batches,
        )

    def _metrics(self, architecture: Architecture) -> Metrics:
        if self.fine_tune is None:
            forward = self._forward(architecture)
        else:
            forward = self._tuned_forward(architecture, self.fine_tune)
        try:
            found = evaluate(
                self.super_net,
                forward,
                self.score_rows,
                self.task.metrics(),
                self.device,
            )
        except NonFiniteError as error:
            logger.warning("candidate %s: %s", architecture.id, error)
            return {self.task.selection: None}
        return {k: v if v is not None and math.isfinite(v) else None for k, v in found.items()}

    def _forward(self, architecture: Architecture) -> Callable[[Batch, Share], Tensor]:
        sample = self.super_net.one_hot_sample(architecture)
        return lambda batch, _: self.super_net(*batch.inputs, sample=sample)

    def _tuned_forward(
        self, architecture: Architecture, settings: FineTune
    ) -> Callable[[Batch, Share], Tensor]:
        net = self.super_net
        assert isinstance(net, HasHead)
        features = self._features(architecture)
        labels = torch.cat([batch.labels for batch in self.tuning_batches])
        weight, bias = fine_tune_head(
            features, labels, *net.head(architecture), self.task.loss, settings
        )

        def forward(batch: Batch, _: Share) -> Tensor:
            return net.head_features(*batch.inputs, architecture=architecture) @ weight + bias

        return forward

    def _features(self, architecture: Architecture) -> Tensor:
        """``(n, H)`` of the rows to fine-tune on."""
        net = self.super_net
        assert isinstance(net, HasHead)
        with evaluating(net), torch.no_grad():
            found: Tensor | None = None
            row = 0
            rows = sum(len(batch.labels) for batch in self.tuning_batches)
            for batch in self.tuning_batches:
                part = net.head_features(*batch.inputs, architecture=architecture)
                if found is None:
                    found = part.new_empty(rows, part.shape[1])
                found[row : row + len(part)] = part
                row += len(part)
        assert found is not None
        return found
