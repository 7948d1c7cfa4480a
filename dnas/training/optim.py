"""Optimizers that handle dense and sparse gradients side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import SGD, Adagrad, Adam, Optimizer, SparseAdam

from dnas.core.schedules import LrLambda
from dnas.errors import ConfigError
from dnas.training.table_optim import (
    RowwiseAdagrad,
    TableAdagrad,
    TableAdam,
    TableOptimizer,
    TableSGD,
)

#: Makes an optimizer from parameter groups: a class such as ``torch.optim.SGD``.
OptimizerClass = Callable[..., Optimizer]

OPTIMIZERS: dict[str, OptimizerClass] = {
    "sgd": SGD,
    "adagrad": Adagrad,
    "rowwise_adagrad": RowwiseAdagrad,
    "adam": Adam,
}

#: What updates tables where a class is asked for, and what updates dense parameters.
_FOR_TABLES: dict[OptimizerClass, type[TableOptimizer]] = {
    SGD: TableSGD,
    Adagrad: TableAdagrad,
    RowwiseAdagrad: RowwiseAdagrad,
    Adam: TableAdam,
    SparseAdam: TableAdam,
}
_FOR_DENSE: dict[OptimizerClass, OptimizerClass] = {RowwiseAdagrad: Adagrad}
#: Which of torch's optimizers update all parameters in one operator, on which devices.
_FUSED: dict[OptimizerClass, tuple[str, ...]] = {
    SGD: ("cpu", "cuda"),
    Adam: ("cpu", "cuda"),
    Adagrad: ("cpu",),
}


def sparse_parameter_ids(module: nn.Module) -> set[int]:
    """``id`` of each parameter that receives sparse gradients.

    Those are the ``weight`` of modules whose attribute ``sparse`` is true, as of
    ``nn.Embedding(sparse=True)`` and this library's tables.
    """
    return {
        id(child.weight)
        for child in module.modules()
        if getattr(child, "sparse", False) is True
        and isinstance(getattr(child, "weight", None), nn.Parameter)
    }


class OptimizerSet:
    """One or more torch optimizers that act as one, with a learning-rate factor for each group.

    Dense parameters are updated by torch's optimizers, those with sparse gradients by the ones of
    :mod:`dnas.training.table_optim` that correspond to them. Weight decay on the latter is *lazy*:
    it is added to the gradient of the rows that the batch touches.

    Args:
        optimizer_class: For example ``torch.optim.Adam``.
        groups: Parameter groups in the order of ``initial_lrs``; a group may carry its own
            options, as in torch.
        initial_lrs: One learning rate for each group.
        init_params: Further arguments of ``optimizer_class``, for example ``weight_decay``.
        sparse: Ids of parameters with sparse gradients.

    Raises:
        ConfigError: Numbers of groups and rates differ, or the class cannot take sparse gradients.
    """

    def __init__(
        self,
        optimizer_class: OptimizerClass,
        groups: Sequence[Mapping[str, Any]],
        initial_lrs: Sequence[float],
        *,
        init_params: Mapping[str, Any] | None = None,
        sparse: Iterable[int] = (),
    ) -> None:
        if len(groups) != len(initial_lrs):
            raise ConfigError(
                f"{len(groups)} parameter groups but {len(initial_lrs)} initial learning rates"
            )
        self.initial_lrs = tuple(initial_lrs)
        sparse_ids = set(sparse)
        options = dict(init_params or {})
        groups = [{**group, "params": list(group["params"])} for group in groups]
        # Each torch optimizer with the numbers of the groups it holds.
        self.members: list[tuple[Optimizer, list[int]]] = []
        for is_sparse in (False, True):
            entries: list[tuple[int, dict[str, Any]]] = []
            for number, group in enumerate(groups):
                chosen = [p for p in group["params"] if (id(p) in sparse_ids) is is_sparse]
                if chosen:
                    own = {**options, **group, "params": chosen, "lr": initial_lrs[number]}
                    entries.append((number, own))
            if entries:
                made_by = (_for_tables if is_sparse else _for_dense)(optimizer_class)
                _check_options(made_by, [entry for _, entry in entries])
                extra = {} if is_sparse else _fused(made_by, options, entries[0][1]["params"])
                optimizer = made_by([entry for _, entry in entries], **options, **extra)
                self.members.append((optimizer, [number for number, _ in entries]))
        if not self.members:
            raise ConfigError("there are no parameters to optimise")

    def describe(self) -> list[Any]:
        """Classes, initial learning rates and settings, as JSON."""
        return [
            [
                type(optimizer).__name__,
                [self.initial_lrs[number] for number in numbers],
                [
                    {
                        key: value
                        for key, value in group.items()
                        if key not in ("params", "lr")
                        and isinstance(value, int | float | str | bool | tuple)
                    }
                    for group in optimizer.param_groups
                ],
            ]
            for optimizer, numbers in self.members
        ]

    def set_lr(self, epoch: float, lambdas: Sequence[LrLambda]) -> None:
        """Set each group's learning rate to its initial rate times ``lambda(epoch)``."""
        for optimizer, numbers in self.members:
            for group, number in zip(optimizer.param_groups, numbers, strict=True):
                group["lr"] = self.initial_lrs[number] * lambdas[number](epoch)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for optimizer, _ in self.members:
            optimizer.zero_grad(set_to_none=True)

    def parameters(self) -> list[nn.Parameter]:
        """All parameters, dense ones first."""
        return [
            parameter
            for optimizer, _ in self.members
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]

    def step(self) -> None:
        """One update from the gradients that are there."""
        for optimizer, _ in self.members:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """States of all torch optimizers."""
        return {"members": [optimizer.state_dict() for optimizer, _ in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave, for the same parameters in the same order."""
        for (optimizer, _), saved in zip(self.members, state["members"], strict=True):
            optimizer.load_state_dict(saved)


def _for_tables(optimizer_class: OptimizerClass) -> OptimizerClass:
    if _is_for_tables(optimizer_class):
        return optimizer_class
    if optimizer_class not in _FOR_TABLES:
        raise ConfigError(
            f"optimizer {_name(optimizer_class)} cannot update embeddings with sparse gradients; "
            "use SGD, Adagrad or Adam, or RowwiseAdagrad"
        )
    return _FOR_TABLES[optimizer_class]


def _for_dense(optimizer_class: OptimizerClass) -> OptimizerClass:
    dense = _FOR_DENSE.get(optimizer_class, optimizer_class)
    if _is_for_tables(dense):
        raise ConfigError(
            f"optimizer {_name(dense)} updates embeddings with sparse gradients only, and there "
            "are dense parameters too"
        )
    return dense


def _check_options(made_by: OptimizerClass, entries: Sequence[Mapping[str, Any]]) -> None:
    """Refuse options that a table optimizer does not know; torch's own refuse them themselves."""
    if not _is_for_tables(made_by):
        return
    known = {*inspect.signature(made_by).parameters}
    for entry in entries:
        unknown = sorted(set(entry) - known)
        if unknown:
            raise ConfigError(
                f"optimizer option {unknown[0]}={entry[unknown[0]]!r}: embeddings with sparse "
                f"gradients have {', '.join(sorted(known - {'params'}))}; give it to a parameter "
                "group of the dense parameters alone"
            )


def _fused(
    made_by: OptimizerClass, options: Mapping[str, Any], parameters: Sequence[nn.Parameter]
) -> dict[str, bool]:
    """``fused=True`` where that exists and nothing else was asked for."""
    asked = {"foreach", "fused", "differentiable"} & set(options)
    device = parameters[0].device.type
    if asked or device not in _FUSED.get(made_by, ()):
        return {}
    # capturable: its step count is on the device, where a recorded step finds it.
    capturable = {"capturable": True} if made_by is Adam and device == "cuda" else {}
    return {"fused": True, **capturable}


def _is_for_tables(optimizer_class: OptimizerClass) -> bool:
    return inspect.isclass(optimizer_class) and issubclass(optimizer_class, TableOptimizer)


def _name(optimizer_class: OptimizerClass) -> str:
    return getattr(optimizer_class, "__name__", str(optimizer_class))
