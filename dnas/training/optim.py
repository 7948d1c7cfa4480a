"""Optimizers that handle dense and sparse gradients side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.optim import Adagrad, Adam, Optimizer, SparseAdam

from dnas.core.schedules import LrLambda
from dnas.errors import ConfigError

#: Makes an optimizer from parameter groups: a class such as ``torch.optim.SGD``.
OptimizerClass = Callable[..., Optimizer]

OPTIMIZERS: dict[str, OptimizerClass] = {
    "sgd": torch.optim.SGD,
    "adagrad": Adagrad,
    "adam": Adam,
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

    Adam takes dense gradients only and ``SparseAdam`` sparse ones only, so Adam over both kinds is
    a pair of them; SGD and Adagrad take both. Weight decay on sparse parameters is *lazy*: it is
    added to the gradient of the rows that the batch touches (torch's optimizers refuse it).

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
        # Each torch optimizer with the numbers of the groups it holds.
        self.members: list[tuple[Optimizer, list[int]]] = []
        self._lazy_decay: list[tuple[nn.Parameter, float]] = []
        parts: dict[bool, list[tuple[int, dict[str, Any]]]] = {False: [], True: []}
        for number, group in enumerate(groups):
            settings = {**options, **{k: v for k, v in group.items() if k != "params"}}
            parameters = list(group["params"])
            for is_sparse in (False, True):
                chosen = [p for p in parameters if (id(p) in sparse_ids) is is_sparse]
                if chosen:
                    entry = {**settings, "params": chosen, "lr": initial_lrs[number]}
                    if is_sparse:
                        decay = entry.pop("weight_decay", 0.0)
                        if decay:
                            self._lazy_decay += [(p, decay) for p in chosen]
                    parts[is_sparse].append((number, entry))
        defaults = {k: v for k, v in options.items() if k != "weight_decay"}
        for is_sparse, entries in parts.items():
            if not entries:
                continue
            made_by = self._class_for(optimizer_class, is_sparse)
            optimizer = made_by([entry for _, entry in entries], **defaults)
            self.members.append((optimizer, [number for number, _ in entries]))
        if not self.members:
            raise ConfigError("there are no parameters to optimise")

    @staticmethod
    def _class_for(optimizer_class: OptimizerClass, is_sparse: bool) -> OptimizerClass:
        if not is_sparse or optimizer_class in (torch.optim.SGD, Adagrad, SparseAdam):
            return optimizer_class
        if optimizer_class is Adam:
            return SparseAdam
        name = getattr(optimizer_class, "__name__", str(optimizer_class))
        raise ConfigError(
            f"optimizer {name} cannot update embeddings with sparse gradients; use SGD, Adagrad "
            "or Adam"
        )

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
        ] + [sorted({decay for _, decay in self._lazy_decay})]

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
        for parameter, decay in self._lazy_decay:
            if parameter.grad is not None:
                gradient = parameter.grad = parameter.grad.coalesce()
                rows = gradient._indices()[0]
                gradient._values().add_(parameter.detach()[rows], alpha=decay)
        for optimizer, _ in self.members:
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """States of all torch optimizers."""
        return {"members": [optimizer.state_dict() for optimizer, _ in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave, for the same parameters in the same order."""
        for (optimizer, _), saved in zip(self.members, state["members"], strict=True):
            optimizer.load_state_dict(saved)
