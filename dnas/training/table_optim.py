"""Optimizers of embedding tables, whose gradients are sparse: a step costs what the batch touches.

They take the gradients of :func:`dnas.models.look_up.look_up` and of ``nn.Embedding(sparse=True)``,
and use plain gathers and scatters on the touched rows. torch's own optimizers work on sparse
tensors operator by operator, which takes two to three times as long, and on a GPU waits for the
device.

Letters: R rows of a table, D its dimension, n touched rows, g ``(n, D)`` their gradients.

Entries that are padding (row 0, gradient 0) must change nothing; everything here *adds* to tables,
so that a row may occur more than once when all but one of its changes are 0.

.. [Duchi2011adagrad] J. Duchi, E. Hazan, Y. Singer. Adaptive Subgradient Methods for Online
    Learning and Stochastic Optimization. JMLR 12, 2011.
.. [Mudigere2022zion] D. Mudigere et al. Software-Hardware Co-design for Fast and Scalable Training
    of Deep Learning Recommendation Models. ISCA 2022, arXiv:2104.05158. Row-wise Adagrad.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from dnas.models.look_up import coalesce_gradient, real_rows


class TableOptimizer(Optimizer):
    """Base: finds rows and gradients, applies lazy weight decay, adds the change.

    Weight decay is *lazy*: added to the gradient of the touched rows only.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """One update of the tables that have a gradient."""
        if closure is not None:
            raise NotImplementedError("table optimizers take no closure")
        for group in self.param_groups:
            for table in group["params"]:
                if table.grad is None:
                    continue
                gradient = coalesce_gradient(table)
                rows, values = gradient._indices()[0], gradient._values()
                if group["weight_decay"]:
                    decayed = take_rows(table, rows) * real_rows(rows).unsqueeze(1)
                    values = values + group["weight_decay"] * decayed
                state = self.state[table]
                if not state:
                    state.update(self._new_state(table, group))
                add_rows_(table, rows, self._change(state, group, rows, values))

    def _new_state(self, table: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {}

    @abstractmethod
    def _change(
        self, state: dict[str, Tensor], group: dict[str, Any], rows: Tensor, values: Tensor
    ) -> Tensor:
        """``(n, D)`` to add to the rows; 0 where ``values`` is padding."""


class TableSGD(TableOptimizer):
    """``w -= lr * g``."""

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    def _change(
        self, state: dict[str, Tensor], group: dict[str, Any], rows: Tensor, values: Tensor
    ) -> Tensor:
        return values * -group["lr"]


class TableAdagrad(TableOptimizer):
    """``s += g^2; w -= lr * g / (sqrt(s) + eps)`` for every number of a touched row.

    The state is as large as the table. See [Duchi2011adagrad]_.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        defaults = {
            "lr": lr,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        super().__init__(params, defaults)

    def _new_state(self, table: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": torch.full_like(table, group["initial_accumulator_value"])}

    def _change(
        self, state: dict[str, Tensor], group: dict[str, Any], rows: Tensor, values: Tensor
    ) -> Tensor:
        add_rows_(state["sum"], rows, values.square())
        divisor = take_rows(state["sum"], rows).sqrt_().add_(group["eps"])
        return torch.div(values, divisor, out=divisor).mul_(-group["lr"])


class RowwiseAdagrad(TableAdagrad):
    """Adagrad with one number of state for each row: ``s += mean(g^2)`` over the row.

    As FBGEMM and TorchRec train embeddings by default, see [Mudigere2022zion]_: the state is 1/D of
    the table. ``OptimizerSet`` trains dense parameters beside it with element-wise Adagrad.
    """

    def _new_state(self, table: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {"sum": table.new_full((table.shape[0], 1), group["initial_accumulator_value"])}

    def _change(
        self, state: dict[str, Tensor], group: dict[str, Any], rows: Tensor, values: Tensor
    ) -> Tensor:
        add_rows_(state["sum"], rows, values.square().mean(dim=1, keepdim=True))
        divisor = take_rows(state["sum"], rows).sqrt_().add_(group["eps"])
        return (values / divisor).mul_(-group["lr"])


class TableAdam(TableOptimizer):
    """Lazy Adam: moments of the touched rows only, bias correction by the steps of the table.

    As ``torch.optim.SparseAdam``. The state is twice as large as the table.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        super().__init__(params, defaults)

    def _new_state(self, table: Tensor, group: dict[str, Any]) -> dict[str, Tensor]:
        return {
            "steps": torch.zeros((), device=table.device),
            "exp_avg": torch.zeros_like(table),
            "exp_avg_sq": torch.zeros_like(table),
        }

    def _change(
        self, state: dict[str, Tensor], group: dict[str, Any], rows: Tensor, values: Tensor
    ) -> Tensor:
        state["steps"] += 1
        real = real_rows(rows).unsqueeze(1)
        moments = []
        for name, beta, new in zip(
            ("exp_avg", "exp_avg_sq"), group["betas"], (values, values.square()), strict=True
        ):
            old = take_rows(state[name], rows)
            change = (new - old).mul_(1 - beta) * real
            add_rows_(state[name], rows, change)
            moments.append((old + change) / (1 - beta ** state["steps"]))
        mean, square = moments
        return mean.div_(square.sqrt_().add_(group["eps"])).mul_(-group["lr"]) * real


def take_rows(table: Tensor, rows: Tensor) -> Tensor:
    """``(n, D)`` copies of rows."""
    return table.detach().index_select(0, rows)


def add_rows_(table: Tensor, rows: Tensor, values: Tensor) -> None:
    """``table[rows] += values`` in place; ``scatter_add_`` is the fastest way to say so."""
    index = rows.unsqueeze(1).expand(-1, values.shape[1])
    table.detach().scatter_add_(0, index, values)
