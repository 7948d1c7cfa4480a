"""Anchored training of AutoTower's supernet: paths learn against a pair of towers that stays.

With uniform paths the towers of a step have hardly met before: the user's last operation is one of
16, the item's another one of 16, each with a linear layer of its own to the common space, and there
is no common space as long as no two of them agree on one. On MovieLens 100K the loss is hardly
better than chance after ten thousand steps.

Here one more pair of towers, the *anchor*, reads the same tables and is trained in every step. A
path's users are told apart against the anchor's items, its items against the anchor's users, and so
every path learns one space, in whichever company it comes. What is left of the anchor when the
supernet is trained are the tables, which it shares; judging candidates does not know it.

This is ours; the paper trains each path against itself alone. What teaches in other one-shot
methods is a network that was trained before (DNA, arXiv:1911.13053) or the largest path of the
supernet (BigNAS, arXiv:2003.11142), of which this space has none. The anchor is neither, and no
part of the space, so that no option has weights that are trained more than the others'. That the
tables serve the anchor too may still favour options that are like it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core import Architecture
from dnas.data.batch import Batch, check_batch
from dnas.models.towers import beside, join, make_pooling, split
from dnas.training.clipping import clip_grad_norm
from dnas.training.loss import LossFunction, loss_of
from dnas.training.optim import OptimizerClass
from dnas.training.seeding import derive_seed
from dnas.training.supernet_weights import make_optimizer, trainable_weights

if TYPE_CHECKING:
    from supernets.autotower.supernet import AutoTowerSuperNet

#: What the anchor is.
POOLING = "self_attention"
OPERATION = "mlp_256"


class Anchor(nn.Module):
    """A user tower and an item tower that read a supernet's tables.

    Args:
        super_net: Whose tables, sizes and form.
    """

    def __init__(self, super_net: AutoTowerSuperNet) -> None:
        super().__init__()
        inputs, spec = super_net.inputs, super_net.spec
        self.pooling = make_pooling(POOLING, inputs.items.history_width, spec.seq_len)
        self.users, self.items = (
            paths.build([OPERATION] * len(paths.blocks), inherit_weights=False)
            for paths in (super_net.users, super_net.items)
        )

    def forward(self, own: Tensor, vectors: Tensor, present: Tensor, items: Tensor) -> Tensor:
        """Vectors of users and items from what a supernet's ``read`` gives, ``(U + N, D)``."""
        users = self.users(beside(own, self.pooling(vectors, present)))
        return F.normalize(torch.cat((users, self.items(items))), dim=-1)


class AnchoredPathStep:
    """A step of one path and the anchor; see ``dnas.strategies.path_step.PathStep``.

    The arguments are those of :func:`dnas.strategies.path_step.make_path_step`. The loss that is
    given back is the path's own, its users against its items, as without an anchor; what is trained
    is the sum of the four of path and anchor, whose gradient is clipped as one.
    """

    def __init__(
        self,
        super_net: AutoTowerSuperNet,
        optimizer_class: OptimizerClass,
        lr: float,
        init_params: Mapping[str, Any],
        clip: float,
        loss_function: LossFunction,
        device: torch.device,
    ) -> None:
        self.super_net = super_net
        # It always begins alike, so that a training depends on no random state but the supernet's.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(0, "anchor"))
            self.anchor = Anchor(super_net).to(device)
        self.clip, self.loss_function, self.device = clip, loss_function, device
        weights = [*trainable_weights(super_net), *self.anchor.parameters()]
        self.optimizer = make_optimizer(super_net, optimizer_class, weights, [lr], init_params)

    def __call__(self, batch: Batch, architecture: Architecture) -> Tensor:
        """One step on ``batch``; the path's own loss, detached."""
        check_batch(batch)
        self.optimizer.zero_grad()
        batch = batch.to(self.device)
        read = self.super_net.read(*batch.inputs)
        count = len(batch.labels)
        pairs = (
            split(self.super_net.path(*read, architecture), count),
            split(self.anchor(*read), count),
        )
        own, *others = (
            loss_of(self.loss_function, join(users, items), batch.labels)
            for users, _ in pairs
            for _, items in pairs
        )
        torch.stack([own, *others]).sum().backward()
        clip_grad_norm(self.optimizer.parameters(), self.clip)
        self.optimizer.step()
        return own.detach()

    def set_lr(self, factor: float) -> None:
        """Learning rates are from now on the initial ones times ``factor``."""
        self.optimizer.set_lr(factor, [lambda value: value])

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state and the anchor."""
        return {"optimizer": self.optimizer.state_dict(), "anchor": self.anchor.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.anchor.load_state_dict(state["anchor"])
