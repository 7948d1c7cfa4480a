"""The two-tower model: users and items as unit vectors whose inner product is the score.

The towers are modules of their own, which serving runs apart: the item tower once for the corpus
(:func:`dnas.models.towers.item_matrix`), the user tower for each request. They share the tables of
the items' fields.

A user may have K vectors; the score of an item then is the largest of its inner products with them.

Letters: U users, N items, D width of the vectors, K vectors of a user.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.models.towers.inputs import ItemInputs, UserInputs


class UserTower(nn.Module):
    """Users to unit vectors.

    Args:
        inputs: Fields and history to ``(U, W)``, or ``(U, K, W)``.
        net: ``(rows, W)`` to ``(rows, D)``.
    """

    def __init__(self, inputs: UserInputs, net: nn.Module) -> None:
        super().__init__()
        self.inputs, self.net = inputs, net

    def forward(self, fields: Tensor, history: Tensor) -> Tensor:
        """``(U, Fu)`` and ``(U, L, Fh)`` to ``(U, D)`` or ``(U, K, D)``."""
        return unit_vectors(self.net, self.inputs(fields, history))


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
        return unit_vectors(self.net, self.inputs(fields, bags))


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
        """``(U, Fu)``, ``(U, L, Fh)``, ``(N, Fi)``, ``(N, G)`` to what :func:`join` gives."""
        return join(self.user(user_fields, history), self.item(item_fields, item_bags))


def unit_vectors(net: nn.Module, vectors: Tensor) -> Tensor:
    """``(..., W)`` to ``(..., D)``, by a net that knows rows only."""
    found = net(vectors.flatten(0, -2))
    return F.normalize(found, dim=-1).unflatten(0, vectors.shape[:-1])


def join(users: Tensor, items: Tensor) -> Tensor:
    """The vectors of a batch as one tensor, users first, a row for each user and each item.

    Args:
        users: ``(U, D)`` or ``(U, K, D)``.
        items: ``(N, D)``.

    Returns:
        ``(U + N, D)``, or ``(U + N, K, D)``, where an item's vector stands in each of its K places.
    """
    if users.dim() == 3:
        items = items.unsqueeze(1).expand(-1, users.shape[1], -1)
    return torch.cat((users, items))


def split(outputs: Tensor, users: int) -> tuple[Tensor, Tensor]:
    """What :func:`join` joined: ``(U, D)`` or ``(U, K, D)`` of the first ``users``, ``(N, D)``."""
    items = outputs[users:]
    return outputs[:users], items if items.dim() == 2 else items[:, 0]
