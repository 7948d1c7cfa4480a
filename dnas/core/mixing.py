"""The weighted sum of operator outputs, equation 2 of arXiv:2110.14812."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def calculate_weighted_sum(weights: Tensor, mats: Sequence[Tensor]) -> Tensor:
    """``sum_i m_i f_i(x)``: mix operator outputs with the weights of one decision.

    Args:
        weights: ``(B, n)`` one weight for each row and operator, or ``(1, n)`` shared by all rows.
        mats: n tensors of one shape ``(B, ...)``; one for every column, also for options that
            this decision lacks (their weight is 0).

    Returns:
        ``(B, ...)`` in the dtype of ``mats``.

    Raises:
        ValueError: The number or the shapes of ``mats`` do not fit.
    """
    if weights.dim() != 2 or weights.shape[1] != len(mats):
        raise ValueError(
            f"weights must have shape (B, {len(mats)}) for {len(mats)} mats, but got "
            f"{tuple(weights.shape)}; give those of one decision, sample[choice][:, d], and a mat "
            "for each option"
        )
    if not mats:
        raise ValueError("there are no mats to sum; give one for each option")
    first = mats[0]
    for index, mat in enumerate(mats):
        if mat.shape != first.shape:
            raise ValueError(
                f"mats must have one shape, but mats[{index}] has {tuple(mat.shape)} and mats[0] "
                f"has {tuple(first.shape)}; project or pad what the options compute to one shape"
            )
    if weights.shape[0] not in (1, first.shape[0]):
        raise ValueError(
            f"weights has {weights.shape[0]} rows, mats have {first.shape[0]}; "
            "draw the sample with the batch size of the inputs"
        )
    tail = (1,) * (first.dim() - 1)
    total = torch.zeros_like(first)
    for column, mat in zip(weights.to(first.dtype).unbind(dim=1), mats, strict=True):
        total = torch.addcmul(total, column.reshape(-1, *tail), mat)
    return total
