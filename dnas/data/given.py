"""What people give as data in memory: made tensors, and looked through for NaN and infinity."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dnas.errors import DataError

logger = logging.getLogger(__name__)

#: Rows that are looked through at a time.
_ROWS = 1 << 16


def given_inputs(name: str, inputs: Any) -> tuple[Tensor, ...]:
    """The positional arguments of a model, as tensors.

    Args:
        name: Of the data, for messages.
        inputs: A tuple or a list of tensors or numpy arrays.

    Raises:
        DataError: It is one tensor or array, or something else that is no sequence of them.
    """
    if isinstance(inputs, Tensor | np.ndarray):
        raise DataError(
            f"{name}: inputs is one {type(inputs).__name__} of shape {tuple(inputs.shape)}; give "
            "a tuple of the model's inputs, for example (x,)"
        )
    if not isinstance(inputs, Sequence) or isinstance(inputs, str) or not inputs:
        raise DataError(
            f"{name}: inputs is {inputs!r:.80}; give a tuple of tensors or numpy arrays, one for "
            "each argument of the model's forward"
        )
    return tuple(given_tensor(name, f"inputs[{i}]", value) for i, value in enumerate(inputs))


def given_tensor(name: str, what: str, value: Any) -> Tensor:
    """A tensor or a numpy array as a tensor; float64, which models do not take, as float32.

    Args:
        name: Of the data, for messages.
        what: Which of its tensors.
        value: Shares its memory with the result where possible.

    Raises:
        DataError: It is neither, or an array of something that is no number.
    """
    if isinstance(value, np.ndarray):
        try:
            # Torch wants positive strides, and memory that it may write to.
            value = torch.from_numpy(np.require(value, requirements=["C", "W"]))
        except TypeError as error:
            raise DataError(
                f"{name}: {what} is an array of {value.dtype}; give numbers, for example "
                "array.astype(numpy.float32)"
            ) from error
    if not isinstance(value, Tensor):
        raise DataError(
            f"{name}: {what} is a {type(value).__name__}; give a tensor or a numpy array"
        )
    if value.dtype == torch.float64:
        logger.info("%s: %s is float64, taken as float32", name, what)
        value = value.float()
    return value


def check_finite(name: str, tensors: Mapping[str, Tensor], parts: Mapping[str, np.ndarray]) -> None:
    """Refuse NaN and infinity in rows that are used; rows of no part may have any values.

    Args:
        name: Of the data, for messages.
        tensors: ``(rows, ...)`` each.
        parts: Row numbers of each part.

    Raises:
        DataError: The message names tensor, row and part of the first one.
    """
    for what, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        bad = np.concatenate(
            [
                ~torch.isfinite(rows).reshape(len(rows), -1).all(1).cpu().numpy()
                for rows in tensor.detach().split(_ROWS)
            ]
        )
        if not bad.any():
            continue
        for part, rows in parts.items():
            found = rows[bad[rows]]
            if found.size:
                values = tensor[int(found[0])].detach().reshape(-1)
                value = float(values[~torch.isfinite(values)][0])
                raise DataError(
                    f"{name}: {what} has the value {value} in row {found[0]}, which is in the "
                    f"{part} part ({found.size} such rows there); drop or fill rows with missing "
                    "values"
                )
