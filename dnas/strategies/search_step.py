"""One step of a search: of the weights, or of theta."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dnas.core import Sample, SuperNet
from dnas.costs import NoPenalty, Penalty
from dnas.data.batch import Batch, check_batch
from dnas.errors import ArchitectureError
from dnas.strategies.phases import THETA, WEIGHTS
from dnas.training.clipping import clip_grad_norm
from dnas.training.loss import loss_of
from dnas.training.optim import OptimizerSet
from dnas.training.precision import computing_in, for_loss
from dnas.training.world import World


@dataclass(frozen=True, kw_only=True)
class SearchStep:
    """Computes and applies the gradients of a batch.

    Attributes:
        super_net: On the device of ``noise``.
        optimizers: For ``"weights"`` and for ``"theta"``.
        loss_function: ``(outputs, labels) ->`` scalar mean.
        penalty: Folds the cost into the loss of theta steps.
        noise: Source of the samples' randomness.
        world: The processes that compute together.
        clip_grad_norm_value: Joint L2 norm above which gradients are scaled down.
        sampling_mode: ``"row"`` or ``"batch"``: draws of soft samples.
        weights_sampling: ``"soft"``, or ``"hard"``: a weights step trains one drawn architecture.
        precision: Of the forward pass.
    """

    super_net: SuperNet
    optimizers: Mapping[str, OptimizerSet]
    loss_function: Callable[[Tensor, Tensor], Tensor]
    penalty: Penalty
    noise: torch.Generator
    world: World
    clip_grad_norm_value: float
    sampling_mode: str
    weights_sampling: str
    precision: str

    def __call__(self, batch: Batch, kind: str, tau: float) -> Tensor:
        """One step.

        Args:
            batch: All rows, also when several processes compute a share of them each.
            kind: ``"weights"`` or ``"theta"``.
            tau: Temperature of the soft sample.

        Returns:
            The task loss, detached.
        """
        check_batch(batch)
        world, device = self.world, self.noise.device
        share = world.share(len(batch.labels))
        optimizer = self.optimizers[kind]
        optimizer.zero_grad()
        sample = self._sample(kind, tau, share.total)
        batch = world.local(batch, share).to(device)
        with computing_in(self.precision, device):
            outputs = self.super_net(*batch.inputs, sample=sample.rows(share.part))
        outputs = for_loss(outputs, self.precision)
        task_loss = world.mean(loss_of(self.loss_function, outputs, batch.labels), share)
        if kind == THETA:
            self._check_theta_is_used(outputs)
        if kind == THETA and type(self.penalty) is not NoPenalty:
            basis = (
                self.super_net.probability_sample() if self.penalty.uses_probabilities else sample
            )
            costs = world.alike(self.super_net.expected_cost(basis))
            self.penalty(task_loss, costs).backward()
            detached = {name: cost.detach() for name, cost in costs.items()}
        else:
            task_loss.backward()
            detached = {}
        parameters = optimizer.parameters()
        world.sync_gradients(parameters)
        clip_grad_norm(parameters, self.clip_grad_norm_value)
        optimizer.step()
        if kind == THETA:
            self.penalty.after_step(detached)
        return task_loss.detach()

    def _check_theta_is_used(self, outputs: Tensor) -> None:
        """Only theta can have a gradient now, so an output without one does not depend on it."""
        if not outputs.requires_grad:
            raise ArchitectureError(
                f"{type(self.super_net).__name__}.forward ignores the sample: its output does not "
                "depend on theta, which can learn nothing; multiply what each option computes with "
                "sample[choice] (calculate_weighted_sum does), without detach()"
            )

    def _sample(self, kind: str, tau: float, rows: int) -> Sample:
        if kind == WEIGHTS and self.weights_sampling == "hard":
            return self.super_net.hard_sample(generator=self.noise)
        # For all rows in every process: the noise of a row depends on nobody's share, and the costs
        # are those of the whole batch.
        draws = rows if self.sampling_mode == "row" else 1
        return self.super_net.soft_sample(tau, draws, self.noise)
