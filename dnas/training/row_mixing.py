"""Finds losses that compare rows with the labels of others, because torch broadcast them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from dnas.errors import ConfigError

#: Element-wise functions of two tensors, without the underscores of operators.
_ARITHMETIC = "sub rsub subtract add radd mul rmul multiply div rdiv divide true_divide pow rpow"
_COMPARISONS = "eq ne gt ge lt le greater less maximum minimum fmax fmin and or xor where lerp"
_LOSSES = "mse_loss l1_loss smooth_l1_loss huber_loss kl_div poisson_nll_loss soft_margin_loss"
_ELEMENTWISE = frozenset(f"{_ARITHMETIC} {_COMPARISONS} {_LOSSES}".split())
#: Keep the shape of a square tensor, but move its rows. ``get`` is that of ``.T`` and ``.mT``.
_MOVES = "get getitem t transpose swapaxes swapdims permute movedim moveaxis adjoint"
_MOVING = frozenset(_MOVES.split())


class RowMixing(TorchFunctionMode):
    """Refuses element-wise functions of outputs and labels whose rows are not the same rows.

    Followed are the outputs, the labels, and what element-wise functions make of them. What a loss
    reshapes or indexes itself (``outputs[:, None] - labels`` for all pairs) it is trusted with, and
    neither compiled code nor the inside of other functions is seen. Only shapes are looked at.
    """

    def __init__(self, outputs: Tensor, labels: Tensor) -> None:
        super().__init__()
        self._shapes = tuple(outputs.shape), tuple(labels.shape)
        # By id; the tensors are kept so that no other can have it.
        self._outputs = {id(outputs): outputs}
        self._labels = {id(labels): labels}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Call ``func``, after a look at its arguments.

        Raises:
            ConfigError: It would compare rows with others.
        """
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "").strip("_")
        given = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
        outputs = [value for value in given if id(value) in self._outputs]
        labels = [value for value in given if id(value) in self._labels]
        if name in _ELEMENTWISE and any(_mixes(o.shape, y.shape) for o in outputs for y in labels):
            raise ConfigError(
                f"the model gives outputs of shape {self._shapes[0]}, but the labels have "
                f"{self._shapes[1]}: the loss ({name}) would compare rows with the labels of "
                "others; give both the same shape, for example end forward with .squeeze(1)"
            )
        result = func(*args, **kwargs)
        if isinstance(result, Tensor) and name not in _MOVING:
            for known, parents in ((self._outputs, outputs), (self._labels, labels)):
                if any(result.shape == parent.shape for parent in parents):
                    known[id(result)] = result
        return result


def _mixes(outputs: torch.Size, labels: torch.Size) -> bool:
    """Whether broadcasting lays rows, the first dimension, next to something else."""
    if len(outputs) == len(labels):
        return outputs[:1] != labels[:1]
    fewer, more = sorted((outputs, labels), key=len)
    return max((*fewer[:1], more[0])) > 1
