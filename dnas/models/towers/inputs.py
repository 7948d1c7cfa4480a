"""What towers read: the fields of users and items as vectors, and the history through a pooling.

Letters: U users, N items, L positions of a history, Fu, Fi and Fh fields of a user, an item and a
position, G values of a bag, D dimension of a field's vector, K vectors of a history.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dnas.data.retrieval import TowerSpec


def make_table(rows: int, dim: int, *, sparse: bool, padding: int | None = None) -> nn.Embedding:
    """A table that starts Xavier-uniform, ``U(-a, a)`` with ``a = sqrt(6 / (rows + dim))``.

    Args:
        rows: Different values.
        dim: D.
        sparse: Whether gradients are sparse, so that optimizers touch the rows of a batch only.
        padding: A row that gets no gradient.
    """
    table = nn.Embedding(rows, dim, padding_idx=padding, sparse=sparse)
    nn.init.xavier_uniform_(table.weight)
    return table


class BagTable(nn.Module):
    """The mean of the vectors of a bag's values; zeros for an empty bag.

    Args:
        size: Different values; ``size`` itself is the padding.
        dim: D.
        sparse: Whether gradients are sparse.
        released_padding: As AutoTower's released program has it: the padding's vector, which is
            random and never trained, is added for every padded place, and the sum divided by the
            number of values.
    """

    def __init__(self, size: int, dim: int, *, sparse: bool, released_padding: bool) -> None:
        super().__init__()
        self.padding = size
        self.table = make_table(size + 1, dim, sparse=sparse, padding=size)
        if not released_padding:
            with torch.no_grad():
                self.table.weight[size].zero_()

    def forward(self, bags: Tensor) -> Tensor:
        """``(N, G)`` to ``(N, D)``."""
        count = (bags != self.padding).sum(1, keepdim=True)
        return self.table(bags).sum(1) / count.clamp(min=1)


class ItemInputs(nn.Module):
    """Items as vectors: those of their fields and the mean of their bag's, side by side.

    The history's positions are items too, and read the same tables; of a bag they have the first
    value.

    Args:
        spec: Fields of the data.
        dim: D, the same for every field.
        sparse: Whether gradients of tables are sparse.
        released_padding: See :class:`BagTable`.
    """

    def __init__(
        self, spec: TowerSpec, dim: int, *, sparse: bool = False, released_padding: bool = False
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(make_table(n, dim, sparse=sparse) for n in spec.item_sizes)
        self.bag = (
            BagTable(spec.bag_size, dim, sparse=sparse, released_padding=released_padding)
            if spec.bag_size
            else None
        )
        names = (*spec.item_names, spec.bag_name)
        self._of_history = tuple(names.index(name) for name in spec.history_names)
        self.width = dim * (len(spec.item_sizes) + (self.bag is not None))
        self.history_width = dim * len(spec.history_names)

    def forward(self, fields: Tensor, bags: Tensor) -> Tensor:
        """``(N, Fi)`` and ``(N, G)`` to ``(N, width)``."""
        parts = _columns(self.tables, fields)
        return torch.cat(parts if self.bag is None else [*parts, self.bag(bags)], dim=-1)

    def history(self, history: Tensor) -> Tensor:
        """``(U, L, Fh)`` to ``(U, L, history_width)``."""
        bag = [] if self.bag is None else [self.bag.table]
        tables = [*self.tables, *bag]
        return torch.cat(_columns([tables[at] for at in self._of_history], history), dim=-1)


class UserInputs(nn.Module):
    """Users as vectors: those of their fields, and the pooled vectors of their history.

    Args:
        spec: Fields of the data.
        dim: D, the same for every field.
        items: What turns the history's items into vectors; shared with the item tower.
        pooling: ``(U, L, W)`` vectors and ``(U, L)`` bool (whether there is an item) to ``(U, P)``,
            or to ``(U, K, P)`` where a user has K vectors.
        sparse: Whether gradients of tables are sparse.

    Attributes:
        seq_len: L.
        own_width: Of the vectors of the user's fields.
        width: With those of a history whose pooling keeps the width, P = W.
    """

    def __init__(
        self,
        spec: TowerSpec,
        dim: int,
        items: ItemInputs,
        pooling: nn.Module,
        *,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        self.tables = nn.ModuleList(make_table(n, dim, sparse=sparse) for n in spec.user_sizes)
        self.items, self.pooling = items, pooling
        self.seq_len = spec.seq_len
        self.own_width = dim * len(spec.user_sizes)
        self.width = self.own_width + items.history_width

    def forward(self, fields: Tensor, history: Tensor) -> Tensor:
        """``(U, Fu)`` and ``(U, L, Fh)`` to ``(U, own_width + P)`` or ``(U, K, own_width + P)``."""
        return beside(self.own(fields), self.pooling(*self.read(history)))

    def own(self, fields: Tensor) -> Tensor:
        """``(U, Fu)`` to ``(U, own_width)``: the vectors of the user's fields."""
        return torch.cat(_columns(self.tables, fields), dim=-1)

    def read(self, history: Tensor) -> tuple[Tensor, Tensor]:
        """``(U, L, Fh)`` to what poolings are given: ``(U, L, W)`` and ``(U, L)`` bool."""
        return self.items.history(history), history[..., 0] != 0


def beside(own: Tensor, pooled: Tensor) -> Tensor:
    """``(U, A)`` and ``(U, P)`` to ``(U, A + P)``; with ``(U, K, P)`` to ``(U, K, A + P)``."""
    if pooled.dim() == 3:
        own = own.unsqueeze(1).expand(-1, pooled.shape[1], -1)
    return torch.cat((own, pooled), dim=-1)


def _columns(tables: nn.ModuleList | Sequence[nn.Module], ids: Tensor) -> list[Tensor]:
    """The vectors of each column of ``(..., F)`` ids, ``(..., D)`` each."""
    return [table(ids[..., column]) for column, table in enumerate(tables)]
