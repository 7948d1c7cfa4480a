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

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.core import Architecture
from dnas.data.batch import Batch
from dnas.models.towers import beside, join, make_pooling, split
from dnas.training.general_path_step import GeneralPathStep
from dnas.training.loss import loss_of
from dnas.training.seeding import derive_seed

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


def make_anchor(super_net: AutoTowerSuperNet) -> Anchor:
    """The anchor of a supernet, on the CPU.

    It always begins alike, so that a training depends on no random state but the supernet's.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed GPUs too, and they are not restored.
        torch.default_generator.manual_seed(derive_seed(0, "anchor"))
        return Anchor(super_net)


class AnchoredPathStep(GeneralPathStep):
    """A step of one path and, beside the supernet, the anchor.

    The path's own loss, of its users against its items, is what it is without an anchor. Trained is
    the sum of the four losses of path and anchor, whose gradient is clipped as one.
    """

    super_net: AutoTowerSuperNet
    beside: Anchor

    def losses(self, batch: Batch, architecture: Architecture) -> tuple[Tensor, Tensor]:
        """The path's own loss, and the sum of all four."""
        read = self.super_net.read(*batch.inputs)
        count = len(batch.labels)
        pairs = (
            split(self.super_net.path(*read, architecture), count),
            split(self.beside(*read), count),
        )
        own, *others = (
            loss_of(self.loss_function, join(users, items), batch.labels)
            for users, _ in pairs
            for _, items in pairs
        )
        return own, torch.stack([own, *others]).sum()
