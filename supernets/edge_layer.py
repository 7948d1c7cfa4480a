"""One layer of FC-of-FC: all its edges, their activations and their weighted sums in one function.

Letters: B rows, I nodes below of widths ``d_i``, O nodes above of widths ``w_o``, W the sum of the
latter. ``m[b, o, i]`` is the weight of edge i -> o, ``m[b, o, I]`` that of the skip to o.

    a_i = relu(x_i W_i^T + b_i)  (B, W);    out_o = sum_i m[o, i] a_i[o] + m[o, skip] x_src(o)

The edges that leave a node are one matrix product. What is left is reading and writing of B x W
numbers, which adds up if every operation makes a tensor of its own; here each ``a_i`` is written by
the product, rectified in place, and read once for each sum. The backward pass is written out for
the same reason, and computes only what the phase trains: no weight gradients in theta steps, no
gradients of m in weights steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dnas.core import Option
from dnas.models.dense import autocast_to
from dnas.models.initialization import init_linear_

SKIP = "skip"


@dataclass(frozen=True)
class LayerPlan:
    """Nodes below and above one layer, and which nodes above may be reached by a skip."""

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    skippable: bool

    def skip_source(self, output: int) -> int | None:
        """Index of the node below that a skip to node number ``output`` comes from, or None."""
        width = self.outputs[output]
        return self.inputs.index(width) if self.skippable and width in self.inputs else None

    def options(self, output: int) -> tuple[Option | None, ...]:
        """Options of node number ``output``: the widths below, then the skip column."""
        skip = SKIP if self.skip_source(output) is not None else None
        return (*self.inputs, skip)

    def slices(self) -> tuple[slice, ...]:
        """Columns of each node above in the products."""
        ends = [sum(self.outputs[: number + 1]) for number in range(len(self.outputs))]
        return tuple(slice(e - w, e) for e, w in zip(ends, self.outputs, strict=True))


class EdgeLayer(nn.Module):
    """All fully connected edges of one layer; those that leave a node are one matrix product.

    ``weight[i]`` has the rows of all edges from node i, in the order of the nodes above.
    """

    def __init__(self, plan: LayerPlan) -> None:
        super().__init__()
        self.plan = plan
        width = sum(plan.outputs)
        self.weight = nn.ParameterList(torch.empty(width, i) for i in plan.inputs)
        self.bias = nn.ParameterList(torch.empty(width) for _ in plan.inputs)
        for i in plan.inputs:
            for o in dict.fromkeys(plan.outputs):
                weight, bias = self.edge(i, o)
                init_linear_(weight.detach(), bias.detach())

    def edge(self, input_width: int, output_width: int) -> tuple[Tensor, Tensor]:
        """Views of the weight ``(out, in)`` and bias ``(out,)`` of one edge."""
        source = self.plan.inputs.index(input_width)
        rows = self.plan.slices()[self.plan.outputs.index(output_width)]
        return self.weight[source][rows], self.bias[source][rows]

    def forward(
        self, nodes: Sequence[Tensor], weights: Tensor | None, activate: bool
    ) -> tuple[Tensor, ...]:
        """The nodes above from the nodes below.

        Args:
            nodes: One ``(B, width)`` for each node below.
            weights: ``(B, O, I + 1)`` or ``(1, O, I + 1)``, skip last; None where nothing is
                decided, which takes a single node below.
            activate: Apply ReLU on each edge.

        Returns:
            One ``(B, width)`` for each node above.
        """
        tensors = autocast_to([*nodes, *self.weight, *self.bias])
        mixing = None if weights is None else weights.to(tensors[0].dtype)
        out: tuple[Tensor, ...] = _Edges.apply(self.plan, activate, mixing, *tensors)
        return out


class _Edges(torch.autograd.Function):
    """See the head of this file. ``tensors`` are x_i, then W_i, then b_i."""

    @staticmethod
    def forward(
        ctx: Any, plan: LayerPlan, activate: bool, m: Tensor | None, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        count = len(plan.inputs)
        xs, weights, biases = (tensors[i * count : (i + 1) * count] for i in range(3))
        edges = []
        for x, weight, bias in zip(xs, weights, biases, strict=True):
            a = torch.addmm(bias, x, weight.t())
            edges.append(a.relu_() if activate else a)
        columns = None if m is None else _columns(m)
        outputs = []
        for o, part in enumerate(plan.slices()):
            if columns is None:
                outputs.append(edges[0][:, part])
                continue
            out = edges[0][:, part] * columns[0][o]
            for a, column in zip(edges[1:], columns[1:-1], strict=True):
                out.addcmul_(a[:, part], column[o])
            source = plan.skip_source(o)
            if source is not None:
                out.addcmul_(xs[source], columns[-1][o])
            outputs.append(out)
        ctx.save_for_backward(m, *xs, *weights, *edges)
        ctx.plan, ctx.activate = plan, activate
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        plan: LayerPlan = ctx.plan
        count = len(plan.inputs)
        m, *saved = ctx.saved_tensors
        xs, weights, edges = (saved[i * count : (i + 1) * count] for i in range(3))
        _, _, need_m, *needed = ctx.needs_input_grad
        need_x, need_w, need_b = (needed[i * count : (i + 1) * count] for i in range(3))
        columns = None if m is None else _columns(m)
        dxs: list[Tensor | None] = [None] * count
        dws: list[Tensor | None] = [None] * count
        dbs: list[Tensor | None] = [None] * count
        dz = torch.empty_like(edges[0])  # one buffer, whose content is used up by each source
        for i in range(count):
            if not (need_x[i] or need_w[i] or need_b[i]):
                continue
            for o, part in enumerate(plan.slices()):
                if columns is None:
                    dz[:, part] = gradients[o]
                else:
                    torch.mul(gradients[o], columns[i][o], out=dz[:, part])
            if ctx.activate:
                torch.ops.aten.threshold_backward.grad_input(dz, edges[i], 0, grad_input=dz)
            if need_w[i]:
                dws[i] = dz.t() @ xs[i]
            if need_b[i]:
                dbs[i] = dz.sum(0)
            if need_x[i]:
                dxs[i] = dz @ weights[i]
        for o in range(len(plan.outputs)):
            source = plan.skip_source(o)
            if source is not None and columns is not None:
                dx = dxs[source]
                if dx is not None:
                    dx.addcmul_(gradients[o], columns[-1][o])
        dm = _mixing_gradient(plan, m, xs, edges, gradients) if need_m else None
        return (None, None, dm, *dxs, *dws, *dbs)


def _columns(m: Tensor) -> list[list[Tensor]]:
    """``(B, O, I + 1)`` to one contiguous column ``(B, 1)`` for each edge: ``[i][o]``."""
    stacked = m.permute(2, 1, 0).contiguous().unsqueeze(-1)
    return [list(part.unbind()) for part in stacked.unbind()]


def _mixing_gradient(
    plan: LayerPlan,
    m: Tensor,
    xs: Sequence[Tensor],
    edges: Sequence[Tensor],
    gradients: Sequence[Tensor],
) -> Tensor:
    """``dm[b, o, i] = <gradient of out_o, what m multiplies>``, in the shape of m."""
    batch = xs[0].shape[0]
    dm = m.new_zeros((m.shape[2], m.shape[1], batch))  # (I + 1, O, B): each product is contiguous
    for o, part in enumerate(plan.slices()):
        for i, a in enumerate(edges):
            torch.linalg.vecdot(a[:, part], gradients[o], out=dm[i, o])
        source = plan.skip_source(o)
        if source is not None:
            torch.linalg.vecdot(xs[source], gradients[o], out=dm[-1, o])
    dm = dm.permute(2, 1, 0)
    return dm if m.shape[0] == batch else dm.sum(0, keepdim=True)
