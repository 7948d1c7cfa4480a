"""The two-tower model: users and items as unit vectors whose inner product is the score.

The towers are modules of their own, which serving runs apart: the item tower once for the corpus
(:func:`dnas.models.towers.item_matrix`), the user tower for each request. They share the tables of
the items' fields.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.models.towers.inputs import ItemInputs, UserInputs


class UserTower(nn.Module):
    """Users to unit vectors.

    Args:
        inputs: Fields and history to ``(U, W)``.
        net: ``(U, W)`` to ``(U, D)``.
    """

    def __init__(self, inputs: UserInputs, net: nn.Module) -> None:
        super().__init__()
        self.inputs, self.net = inputs, net

    def forward(self, fields: Tensor, history: Tensor) -> Tensor:
        """``(U, Fu)`` and ``(U, L, Fh)`` to ``(U, D)``."""
        return F.normalize(self.net(self.inputs(fields, history)), dim=-1)


class ItemTower(nn.Module):
    """Items to unit vectors.

    Args:
        inputs: Fields and bags to ``(N, W)``.
        net: ``(N, W)`` to ``(N, D)``.
    """

    def __init__(self, inputs: ItemInputs, net: nn.Module) -> None:
        super().__init__()
        self.inputs, self.net = inputs, net

    def forward(self, fields: Tensor, bags: Tensor) -> Tensor:
        """``(N, Fi)`` and ``(N, G)`` to ``(N, D)``."""
        return F.normalize(self.net(self.inputs(fields, bags)), dim=-1)


class TwoTower(nn.Module):
    """Both towers: what is trained.

    Attributes:
        user: The user tower, whose inputs share the item tower's tables.
        item: The item tower.
    """

    def __init__(self, inputs: UserInputs, user_net: nn.Module, item_net: nn.Module) -> None:
        super().__init__()
        self.user = UserTower(inputs, user_net)
        self.item = ItemTower(inputs.items, item_net)

    def forward(
        self, user_fields: Tensor, history: Tensor, item_fields: Tensor, item_bags: Tensor
    ) -> Tensor:
        """``(U, Fu)``, ``(U, L, Fh)``, ``(N, Fi)``, ``(N, G)`` to ``(U + N, D)``, users first."""
        return torch.cat((self.user(user_fields, history), self.item(item_fields, item_bags)))
