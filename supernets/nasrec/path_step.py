"""Training one path on slices: gradients and optimizer cost what the path costs.

Autograd would give each of the supernet's tensors a gradient of its full size, most of it zero, and
the optimizer would walk through all of it. Here the slices of a path are leaves of their own; their
gradients are applied to the same slices of the weights and of the optimizer's state. For SGD and
Adagrad without weight decay that is the same update: where a gradient is zero they change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim import SGD, Adagrad

from dnas.core import Architecture
from dnas.data.batch import Batch
from dnas.training.clipping import clip_grad_norm
from dnas.training.optim import OptimizerClass, OptimizerSet, sparse_parameter_ids
from dnas.training.table_optim import RowwiseAdagrad
from supernets.nasrec.layers import Weight
from supernets.nasrec.model import parameter_name

if TYPE_CHECKING:
    from supernets.nasrec.supernet import NASRecSuperNet

#: Options of the optimizers that the update on slices knows.
_KNOWN = {"eps", "initial_accumulator_value"}


def updates_slices(optimizer_class: OptimizerClass, init_params: Mapping[str, Any]) -> bool:
    """Whether an optimizer changes nothing where the gradient is zero, and is implemented here."""
    if optimizer_class is SGD:
        return not init_params
    return optimizer_class in (Adagrad, RowwiseAdagrad) and set(init_params) <= _KNOWN


class SlicedPathStep:
    """Trains paths of a NASRec supernet; see ``dnas.strategies.path_step.PathStep``.

    Args:
        super_net: On ``device``.
        optimizer_class: SGD, Adagrad, or RowwiseAdagrad (row-wise for tables only).
        lr: Initial learning rate.
        init_params: Of Adagrad: ``eps``, ``initial_accumulator_value``.
        clip: Joint L2 norm above which gradients are scaled down.
        loss_function: ``(outputs, labels) ->`` scalar mean.
        device: Where to train.
    """

    def __init__(
        self,
        super_net: NASRecSuperNet,
        optimizer_class: OptimizerClass,
        lr: float,
        init_params: Mapping[str, Any],
        clip: float,
        loss_function: Callable[[Tensor, Tensor], Tensor],
        device: torch.device,
    ) -> None:
        self.super_net, self.clip = super_net, clip
        self.loss_function, self.device = loss_function, device
        self.initial_lr, self.lr = lr, lr
        self.eps = float(init_params.get("eps", 1e-10))
        tables = list(super_net.embeddings.parameters())
        self.tables = OptimizerSet(
            optimizer_class,
            [{"params": tables}],
            [lr],
            init_params=init_params,
            sparse=sparse_parameter_ids(super_net),
        )
        start = float(init_params.get("initial_accumulator_value", 0.0))
        #: Adagrad's sum of squares of each tensor.
        self.sums: dict[str, Tensor] = {}
        if optimizer_class is not SGD:
            self.sums = {
                name: torch.full_like(weight, start, requires_grad=False)
                for name, weight in super_net.weights.items()
            }

    def __call__(self, batch: Batch, architecture: Architecture) -> Tensor:
        """One step on ``batch``; the task loss, detached."""
        net = self.super_net
        batch = batch.to(self.device)
        network = net.network(architecture)
        with torch.no_grad():
            slices = net.slices(network.weights)
        leaves = {name: part.detach().requires_grad_() for name, part in slices.items()}
        self.tables.zero_grad()
        dense, ids = batch.inputs
        loss = self.loss_function(network(leaves, dense, net.embed(ids)), batch.labels)
        loss.backward()
        clip_grad_norm([*leaves.values(), *self.tables.parameters()], self.clip)  # type: ignore[list-item]
        self.tables.step()
        self._update(network.weights, leaves)
        return loss.detach()

    @torch.no_grad()
    def _update(self, weights: tuple[Weight, ...], leaves: Mapping[str, Tensor]) -> None:
        changed: list[Tensor] = []
        gradients: list[Tensor] = []
        sums: list[Tensor] = []
        for weight in weights:
            gradient = leaves[weight.name].grad
            if gradient is None:
                continue
            name = parameter_name(weight.name)
            wholes = [self.super_net.weights[name]]
            if self.sums:
                wholes.append(self.sums[name])
            for mine, whole, *squares in weight.parts(gradient, *wholes):
                gradients.append(mine)
                changed.append(whole)
                sums += squares
        if not self.sums:
            torch._foreach_add_(changed, gradients, alpha=-self.lr)
            return
        torch._foreach_addcmul_(sums, gradients, gradients)
        roots = torch._foreach_sqrt(sums)
        torch._foreach_add_(roots, self.eps)
        torch._foreach_addcdiv_(changed, gradients, roots, value=-self.lr)

    def set_lr(self, factor: float) -> None:
        """Learning rates are from now on the initial ones times ``factor``."""
        self.lr = self.initial_lr * factor
        self.tables.set_lr(factor, [lambda value: value])

    def state_dict(self) -> dict[str, Any]:
        """The optimizers' state."""
        return {"tables": self.tables.state_dict(), "sums": dict(self.sums)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.tables.load_state_dict(state["tables"])
        for name, kept in self.sums.items():
            kept.copy_(state["sums"][name])
