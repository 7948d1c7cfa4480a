"""Look-ups in a fused table whose gradient costs what the batch touches, sorted and summed by row.

Letters: M looked-up rows, N bags they are summed in, D dimension, R rows of the table.

``out[n] = sum_i w_i table[rows_i]`` over the entries i of bag n. The table's gradient is
``grad[r] = sum_i w_i g[bag_i]`` over the entries i that looked up row r: the same sum, read the
other way round. So the backward pass sorts the entries by row and calls ``embedding_bag`` again, on
the small matrix g. Autograd's own way first writes ``w_i g[bag_i]`` for every entry (M x D numbers,
of which a supernet has one for each option), and leaves it to others to sort and sum that.

Gradients are sparse and coalesced: rows ascend, each once, so that clipping and optimizers need no
further pass. On a GPU the number of different rows is not known to the host, and asking would mean
waiting; there the gradient has M entries, the last of which are *padding*: row 0 with zeros.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_INT32_ROWS = 2**31


def look_up(
    table: Tensor,
    rows: Tensor,
    *,
    weights: Tensor | None = None,
    offsets: Tensor | None = None,
    fixed_shape: bool | None = None,
) -> Tensor:
    """Weighted sums of rows of ``table``.

    Args:
        table: ``(R, D)``; if it requires a gradient, it gets a sparse one.
        rows: ``(N, K)`` integer rows, K in each bag; or ``(M,)`` with ``offsets``.
        weights: One for each row, of the shape of ``rows``; None: 1. May require a gradient.
        offsets: ``(N + 1,)`` where each bag begins, the last is M; bags may be empty.
        fixed_shape: Whether the gradient has M entries whatever the rows are, padded with zeros in
            row 0; None: not on a CPU.

    Returns:
        ``(N, D)``.
    """
    if table.shape[0] < _INT32_ROWS:
        rows = rows.int()  # sorts in half the time
        offsets = None if offsets is None else offsets.int()
    if weights is not None:
        weights = weights.to(table.dtype)
    out = F.embedding_bag(
        rows,
        table.detach(),
        offsets,
        mode="sum",
        per_sample_weights=weights,
        include_last_offset=offsets is not None,
    )
    if not (torch.is_grad_enabled() and table.requires_grad):
        return out
    # embedding_bag differentiates the weights; this adds the table's part of the gradient.
    if fixed_shape is None:
        fixed_shape = _fixed_shape(table)
    detached = None if weights is None else weights.detach()
    traced: Tensor = _TableGradient.apply(out, table, rows, detached, offsets, fixed_shape)
    return traced


def _fixed_shape(table: Tensor) -> bool:
    """Not on a CPU, where to know the number of different rows costs nothing."""
    return table.device.type != "cpu"


class _TableGradient(torch.autograd.Function):
    """The identity of its first argument, with the gradient of the look-up for its second."""

    @staticmethod
    def forward(
        ctx: Any,
        out: Tensor,
        table: Tensor,
        rows: Tensor,
        weights: Tensor | None,
        offsets: Tensor | None,
        fixed_shape: bool,
    ) -> Tensor:
        ctx.save_for_backward(rows, weights, offsets)
        ctx.table = table
        ctx.fixed_shape = fixed_shape
        return out.view_as(out)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        rows, weights, offsets = ctx.saved_tensors
        sparse = table_gradient(
            gradient, ctx.table.shape, rows, weights, offsets, fixed_shape=ctx.fixed_shape
        )
        ctx.table.sorted_rows = sparse._indices()
        return gradient if ctx.needs_input_grad[0] else None, sparse, None, None, None, None


def table_gradient(
    gradient: Tensor,
    shape: torch.Size,
    rows: Tensor,
    weights: Tensor | None,
    offsets: Tensor | None,
    *,
    fixed_shape: bool,
) -> Tensor:
    """The sparse gradient ``shape`` of a table from that of the bags ``(N, D)``; see above."""
    if rows.numel() == 0:  # all bags are empty
        return torch.sparse_coo_tensor(
            rows.new_empty((1, 0), dtype=torch.int64),
            gradient.new_empty((0, shape[1])),
            shape,
            is_coalesced=True,
            check_invariants=False,
        )
    ordered, order = torch.sort(rows.reshape(-1), stable=True)
    if offsets is None:
        bag = order if rows.dim() == 1 else order // rows.shape[1]
    else:
        bag = torch.searchsorted(offsets, order.to(offsets.dtype), right=True) - 1
    if fixed_shape:
        starts, different = _padded_segments(ordered)
    else:
        different, counts = torch.unique_consecutive(ordered, return_counts=True)
        starts = counts.cumsum(0) - counts
    values = F.embedding_bag(
        bag,
        gradient,
        starts,
        mode="sum",
        per_sample_weights=None if weights is None else weights.reshape(-1)[order],
    )
    return torch.sparse_coo_tensor(
        different.long().unsqueeze(0), values, shape, is_coalesced=True, check_invariants=False
    )


def _padded_segments(ordered: Tensor) -> tuple[Tensor, Tensor]:
    """Starts and rows of the segments of equal rows, filled up to M with empty ones of row 0."""
    size = ordered.numel()
    segment = F.pad(ordered[1:] != ordered[:-1], (1, 0)).cumsum(0)
    starts = torch.full_like(segment, size)
    positions = torch.arange(size, device=ordered.device)
    starts.scatter_reduce_(0, segment, positions, "amin")
    return starts, torch.zeros_like(ordered).scatter_(0, segment, ordered)


def coalesce_gradient(parameter: Tensor) -> Tensor:
    """Make the sparse gradient of ``parameter`` a coalesced one, and give it.

    That of a single look-up is coalesced already, which autograd forgets when it hands it over.
    Where several gradients were added up, and of other modules' tables, torch does the work.
    """
    gradient = parameter.grad
    assert gradient is not None
    if not gradient.is_coalesced():
        indices = gradient._indices()
        # Kept by the parameter, so that no other tensor can have its address.
        known: Tensor | None = getattr(parameter, "sorted_rows", None)
        if (
            known is not None
            and known.data_ptr() == indices.data_ptr()
            and known.shape == indices.shape
        ):
            gradient = torch.sparse_coo_tensor(
                indices,
                gradient._values(),
                gradient.shape,
                is_coalesced=True,
                check_invariants=False,
            )
        else:
            gradient = gradient.coalesce()
        parameter.grad = gradient
    return gradient


def real_rows(rows: Tensor) -> Tensor:
    """``(n,)`` bool: which entries of a gradient from :func:`look_up` are not padding."""
    return F.pad(rows[1:] > rows[:-1], (1, 0), value=True)[: len(rows)]
