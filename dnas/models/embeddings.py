"""Embedding tables of all features in fused storage, with sparse gradients.

Letters: B rows of a batch, F features, D dimension handed to the interaction, N ids in bags.

One table for all features of one dimension: one gather and one sparse gradient instead of F of
each. An id is taken modulo the feature's rows (the paper's hash, VI-C3), a vector shorter than D is
padded with zeros to D (VI-C2), always to the backbone's D: padding to the largest dimension that
happens to occur would not fit the bottom MLP.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dnas.data.batch import Bags
from dnas.errors import ConfigError
from dnas.models.initialization import init_table_
from dnas.models.look_up import look_up


def capped_rows(cardinalities: Sequence[int], most_rows: int) -> tuple[int, ...]:
    """Rows of each feature's table where no table may have more than ``most_rows``; 0: no cap.

    Ids beyond share rows with others, since an id is taken modulo the rows.
    """
    return tuple(min(count, most_rows) if most_rows else count for count in cardinalities)


class FusedTable(nn.Module):
    """The rows of several tables of one dimension, one below the other.

    ``sparse`` tells optimizers that ``weight`` receives sparse gradients.

    Args:
        rows: Rows of each table.
        dim: Common dimension.
    """

    sparse = True

    def __init__(self, rows: Sequence[int], dim: int) -> None:
        super().__init__()
        self.rows = tuple(rows)
        self.weight = nn.Parameter(torch.empty(sum(rows), dim))
        for table in self.tables():
            init_table_(table)

    def tables(self) -> list[Tensor]:
        """Views of the single tables, without gradient tracking."""
        return list(self.weight.detach().split(list(self.rows)))

    def offsets(self) -> Tensor:
        """``(len(rows),)`` int64: where each table starts."""
        return torch.cumsum(torch.tensor((0, *self.rows[:-1])), dim=0)


class EmbeddingTables(nn.Module):
    """Embeddings of F features, each with its own rows and dimension.

    Args:
        rows: F numbers of rows.
        dims: F dimensions, each at most ``output_dim``.
        output_dim: D.
    """

    def __init__(self, rows: Sequence[int], dims: Sequence[int], output_dim: int) -> None:
        super().__init__()
        if len(rows) != len(dims) or not rows:
            raise ConfigError(f"{len(rows)} tables with {len(dims)} dimensions")
        if min(rows) < 1 or min(dims) < 1 or max(dims) > output_dim:
            raise ConfigError(
                f"rows must be positive and dimensions in 1..{output_dim}, "
                f"but got rows {tuple(rows)}, dims {tuple(dims)}"
            )
        self.rows = tuple(rows)
        self.dims = tuple(dims)
        self.output_dim = output_dim
        self.groups = nn.ModuleList()
        order: list[int] = []
        for number, dim in enumerate(sorted(set(dims))):
            members = [feature for feature, d in enumerate(dims) if d == dim]
            order += members
            table = FusedTable([rows[feature] for feature in members], dim)
            self.groups.append(table)
            self.register_buffer(f"_members_{number}", torch.tensor(members), persistent=False)
            self.register_buffer(f"_offsets_{number}", table.offsets(), persistent=False)
        self.register_buffer("_rows", torch.tensor(self.rows), persistent=False)
        # Groups are concatenated by dimension; this brings the features back into their order.
        self.register_buffer("_order", torch.tensor(order).argsort(), persistent=False)
        self._rows: Tensor
        self._order: Tensor

    def copy_table_(self, feature: int, values: Tensor) -> None:
        """Set the table of ``feature`` to ``values`` (rows, dim)."""
        dim = self.dims[feature]
        number = sorted(set(self.dims)).index(dim)
        position = [f for f, d in enumerate(self.dims) if d == dim].index(feature)
        group = self.groups[number]
        assert isinstance(group, FusedTable)
        with torch.no_grad():
            group.tables()[position].copy_(values)

    def forward(self, ids: Tensor | Bags) -> Tensor:
        """Sum of the embeddings in each bag.

        Args:
            ids: ``(B, F)`` int64, or :class:`~dnas.data.batch.Bags` of ``B * F`` bags.

        Returns:
            ``(B, F, D)``.
        """
        parts = [self.look_up_group(number, ids) for number in range(len(self.groups))]
        return join_groups(parts, self._order)

    def look_up_group(self, number: int, ids: Tensor | Bags) -> Tensor:
        """``(B, F_g, D)``: the features of the ``number``-th smallest dimension, padded."""
        table = self.groups[number]
        assert isinstance(table, FusedTable)
        members: Tensor = getattr(self, f"_members_{number}")
        offsets: Tensor = getattr(self, f"_offsets_{number}")
        rows = self._rows[members]
        if isinstance(ids, Bags):
            values, bag_offsets, feature = select_features(ids, members, len(self.rows))
            flat = values % rows[feature] + offsets[feature]
            out = look_up(table.weight, flat, offsets=bag_offsets)
        else:
            picked = ids if len(self.groups) == 1 else ids[:, members]
            out = look_up(table.weight, (picked % rows + offsets).view(-1, 1))
        out = out.view(-1, members.numel(), table.weight.shape[1])
        missing = self.output_dim - out.shape[-1]
        return F.pad(out, (0, missing)) if missing else out


def join_groups(parts: Sequence[Tensor], order: Tensor) -> Tensor:
    """``(B, F_g, D)`` vectors of each group to ``(B, F, D)`` in the features' order.

    Args:
        parts: Of each group, in the order of the groups.
        order: ``(F,)`` where each feature stands among them.
    """
    if len(parts) == 1:
        return parts[0]
    return torch.cat(list(parts), dim=1).index_select(1, order)


def bag_of_value(bags: Bags) -> Tensor:
    """``(N,)`` int64: the bag (``b * F + f``) that each value belongs to."""
    lengths = bags.offsets.diff()
    return torch.repeat_interleave(
        torch.arange(lengths.numel(), device=lengths.device),
        lengths,
        output_size=bags.values.numel(),
    )


def select_features(
    bags: Bags, members: Tensor, num_features: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The bags of some features only.

    Args:
        bags: All bags, N ids.
        members: ``(F_g,)`` features to keep, ascending.
        num_features: F.

    Returns:
        Values ``(N_g,)``, offsets ``(B * F_g + 1,)``, and for each value the position of its
        feature in ``members`` ``(N_g,)``.
    """
    bag = bag_of_value(bags)
    position = torch.full((num_features,), -1, device=members.device)
    position[members] = torch.arange(members.numel(), device=members.device)
    feature = position[bag % num_features]
    kept = feature >= 0
    lengths = bags.offsets.diff().view(-1, num_features)[:, members].flatten()
    offsets = F.pad(lengths.cumsum(0), (1, 0))
    return bags.values[kept], offsets, feature[kept]
