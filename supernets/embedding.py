"""What the embedding search spaces share: one fused table, look-ups by weights, costs, building.

Letters: B rows of a batch, F features, K row options, N dimension options, D backbone dimension.

Rows (VI-C3): each option of each feature is a table of its own, all stacked in one matrix. The
weighted sum over the options is one ``embedding_bag`` with per-sample weights, so that a step costs
what the batch looks up, not what the tables hold.

Dimensions (VI-C2): a vector cut to its first d entries and padded with zeros is a product with a
staircase of ones, so the weighted sum over the options is ``e * (m @ M)``, with M fixed
``(N, D)`` and ``M[n, j] = 1`` where ``j < d_n``: one small product instead of N padded copies.

Searched jointly, the weighted sum over rows is taken first and multiplied by the staircase; a
one-hot sample of both is exactly the table with these rows cut to this dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from dnas.core import Architecture, Choice, OperatorCounts, Option, Sample, SuperNet, joined
from dnas.costs.formulas import BYTES_PER_WEIGHT
from dnas.data.batch import Bags
from dnas.models import EmbeddingTables, FusedTable
from dnas.models.embeddings import bag_of_value
from dnas.models.look_up import look_up
from supernets.embedding_operators import groups, look_ups


class EmbeddingSuperNet(SuperNet):
    """Embeddings of F features with searched rows, searched dimensions, or both.

    Args:
        cardinalities: F original cardinalities; also the rows where rows are not searched.
        output_dim: D, to which every vector is padded.
        rows: Choice of each feature's rows (options are ints), or None.
        dims: Choice of each feature's dimension (options are ints), or None for D everywhere.
        id_skew: Zipf exponent of the ids that measured costs are for; 0: uniform.
    """

    def __init__(
        self,
        cardinalities: Sequence[int],
        output_dim: int,
        *,
        rows: Choice | None = None,
        dims: Choice | None = None,
        id_skew: float = 1.0,
    ) -> None:
        super().__init__()
        self.id_skew = id_skew
        self.cardinalities = tuple(cardinalities)
        self.output_dim = output_dim
        self.rows_choice = rows
        self.dims_choice = dims
        #: For each feature its row options in column order, None where there is none.
        self.row_options: tuple[tuple[int | None, ...], ...] = (
            tuple((count,) for count in self.cardinalities)
            if rows is None
            else tuple(_integers(row) for row in rows.options)
        )
        present = [rows_ for row in self.row_options for rows_ in row if rows_ is not None]
        self.table = FusedTable(present, output_dim)
        sizes, starts = _places(self.row_options)
        self.register_buffer("sizes", torch.tensor(sizes), persistent=False)  # (F, K)
        self.register_buffer("starts", torch.tensor(starts), persistent=False)  # (F, K)
        # float64: costs of an architecture are exact.
        fixed = torch.tensor([self.cardinalities, (output_dim,) * len(self.cardinalities)])
        self.register_buffer("fixed_rows", fixed[:1].double(), persistent=False)  # (1, F)
        self.register_buffer("fixed_dims", fixed[1:].double(), persistent=False)  # (1, F)
        self.sizes: Tensor
        self.starts: Tensor
        self.fixed_rows: Tensor
        self.fixed_dims: Tensor
        if dims is not None:
            steps = [_integers(row) for row in dims.options]
            column = torch.arange(output_dim)
            # (F, N, D): features may have option lists of their own.
            staircase = torch.stack(
                [torch.stack([(column < (d or 0)).float() for d in row]) for row in steps]
            )
            self.register_buffer("staircase", staircase, persistent=False)
            self.staircase: Tensor

    # ------------------------------------------------------------------ forward

    def forward(self, ids: Tensor | Bags, *, sample: Sample) -> Tensor:
        """Sums of embeddings ``(B, F, D)`` of one-hot ids ``(B, F)`` or of Bags."""
        weights = None if self.rows_choice is None else sample[self.rows_choice]
        sizes, starts = self.sizes, self.starts
        if weights is not None and sample.architecture is not None:
            # A hard sample: its tables are looked up in, and no others.
            column = weights[0].argmax(dim=1, keepdim=True)
            sizes, starts, weights = sizes.gather(1, column), starts.gather(1, column), None
        if isinstance(ids, Bags):
            out = self._look_up_bags(ids, sizes, starts, weights)
        else:
            out = self._look_up(ids, sizes, starts, weights)
        if self.dims_choice is None:
            return out
        # (B, F, N) x (F, N, D) -> (B, F, D); as exact as the weights also where autocast is on.
        with torch.autocast(out.device.type, enabled=False):
            kept = torch.einsum("bfn,fnd->bfd", sample[self.dims_choice], self.staircase)
        return out * kept.to(out.dtype)

    def _look_up(
        self, ids: Tensor, sizes: Tensor, starts: Tensor, weights: Tensor | None
    ) -> Tensor:
        rows = ids.unsqueeze(-1) % sizes + starts  # (B, F, K)
        batch, features, options = rows.shape
        if weights is not None:
            weights = weights.expand(batch, -1, -1).reshape(-1, options)
        out = look_up(self.table.weight, rows.view(-1, options), weights=weights)
        return out.view(batch, features, -1)

    def _look_up_bags(
        self, bags: Bags, sizes: Tensor, starts: Tensor, weights: Tensor | None
    ) -> Tensor:
        features, options = sizes.shape
        bag = bag_of_value(bags)  # (N,)
        feature = bag % features
        rows = bags.values.unsqueeze(-1) % sizes[feature] + starts[feature]  # (N, K)
        if weights is not None:
            batch = (bags.offsets.numel() - 1) // features
            weights = weights.expand(batch, -1, -1).reshape(-1, options)[bag].flatten()
        out = look_up(
            self.table.weight, rows.flatten(), weights=weights, offsets=bags.offsets * options
        )
        return out.view(-1, features, self.output_dim)

    # ------------------------------------------------------------------ costs

    def cost_terms(self, sample: Sample) -> dict[str, Tensor]:
        """Parameters, rows, bytes and mean dimension of the tables, each ``(B,)``.

        ``params = sum_f E[rows_f] * E[dim_f]``: the two decisions of a feature are independent.
        """
        reference = next(iter(sample.weights.values()), torch.ones(1))
        rows = self._expected(sample, self.rows_choice, self.fixed_rows, reference)  # (B, F)
        dims = self._expected(sample, self.dims_choice, self.fixed_dims, reference)
        params = (rows * dims).sum(dim=1)
        return {
            "params": params,
            "embedding_params": params,
            "embedding_bytes": params * BYTES_PER_WEIGHT,
            "embedding_rows": rows.sum(dim=1),
            "average_dim": dims.mean(dim=1),
        }

    @staticmethod
    def _expected(
        sample: Sample, choice: Choice | None, fixed: Tensor, reference: Tensor
    ) -> Tensor:
        """``(B, F)`` expected option values, or the fixed ones."""
        if choice is None:
            return fixed.to(reference.dtype).expand(reference.shape[0], -1)
        weights = sample[choice]
        return (weights * choice.numbers.to(weights.dtype)).sum(dim=2)

    def operator_terms(self, sample: Sample) -> OperatorCounts:
        """The look-ups of every feature, and what groups of equal dimension add."""
        reference = next(iter(sample.weights.values()), torch.ones(1))
        certain = reference.new_ones(1, len(self.cardinalities), 1)
        rows, dims = self.rows_choice, self.dims_choice
        widths = (
            tuple((self.output_dim,) for _ in self.cardinalities)
            if dims is None
            else tuple(map(_integers, dims.options))
        )
        rows_weights = certain if rows is None else sample[rows]
        dims_weights = certain if dims is None else sample[dims]
        parts = (
            look_ups(
                self.row_options,
                rows_weights,
                widths,
                dims_weights,
                width=self.output_dim,
                skew=self.id_skew,
            ),
            groups(widths, dims_weights, self.output_dim),
        )
        return joined(parts, reference)

    # ------------------------------------------------------------------ building

    def rows_and_dims(
        self, architecture: Mapping[str, Option]
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Rows and dimension of every feature in ``architecture``."""
        rows = _chosen(self.rows_choice, architecture, self.cardinalities)
        dims = _chosen(self.dims_choice, architecture, (self.output_dim,) * len(self.cardinalities))
        return rows, dims

    def build(
        self, architecture: Architecture, *, inherit_weights: bool = False
    ) -> EmbeddingTables:
        """Tables of the chosen rows and dimensions, padded to ``output_dim``."""
        rows, dims = self.rows_and_dims(architecture)
        module = EmbeddingTables(rows, dims, self.output_dim)
        if inherit_weights:
            self.copy_tables_(module)
        return module

    def copy_tables_(self, module: EmbeddingTables) -> None:
        """Copy the supernet's tables of ``module``'s rows, cut to its dimensions, into it."""
        weight = self.table.weight.detach()
        for feature, (rows, dim) in enumerate(zip(module.rows, module.dims, strict=True)):
            column = self.row_options[feature].index(rows)
            start = int(self.starts[feature, column])
            module.copy_table_(feature, weight[start : start + rows, :dim])


def _integers(row: Sequence[Option | None]) -> tuple[int | None, ...]:
    return tuple(None if option is None else int(option) for option in row)


def _places(
    row_options: Sequence[Sequence[int | None]],
) -> tuple[list[list[int]], list[list[int]]]:
    """Rows, and first row in the fused table, of every option of every feature.

    A missing option has those of the feature's first one. Its weight is 0, but optimizers count a
    row that is looked up as touched: it must be one that is looked up anyway.
    """
    sizes: list[list[int]] = []
    starts: list[list[int]] = []
    end = 0
    for row in row_options:
        of_row: list[tuple[int, int] | None] = []
        for count in row:
            of_row.append(None if count is None else (count, end))
            end += count or 0
        first = next(place for place in of_row if place is not None)
        sizes.append([(place or first)[0] for place in of_row])
        starts.append([(place or first)[1] for place in of_row])
    return sizes, starts


def _chosen(
    choice: Choice | None, architecture: Mapping[str, Option], fixed: Sequence[int]
) -> tuple[int, ...]:
    if choice is None:
        return tuple(fixed)
    return tuple(int(architecture[key]) for key in choice.keys)
