"""Metrics of a choice among classes, over a stream of batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dnas.errors import DataError
from dnas.metrics.binary import NO_ROWS, raise_if_unusable


class ClassMetrics:
    """Log loss and accuracy of batches of logits, one for each class.

    ``update`` any number of times, then ``compute``; more updates and another ``compute`` may
    follow. ``update`` only adds to float64 sums on the device of its arguments: it keeps nothing of
    them and never waits for the device.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._rows = 0
        self._classes = 0
        self._sums: Tensor | None = None  # (4,) float64: losses, right ones, and two kinds of fault

    @property
    def rows(self) -> int:
        """Rows seen so far."""
        return self._rows

    def update(self, outputs: Tensor, labels: Tensor) -> None:
        """Add rows.

        Args:
            outputs: ``(B, C)`` logits, any floating dtype.
            labels: ``(B,)`` numbers of the right classes, integers from 0 to C - 1, on the device
                of ``outputs``.

        Raises:
            DataError: The shapes do not fit, or labels are no integers. Wrong values are found by
                :meth:`compute`, since looking at them here would mean waiting for the device.
        """
        if outputs.dim() != 2 or labels.shape != outputs.shape[:1]:
            raise DataError(
                f"outputs of shape {tuple(outputs.shape)} and labels of shape "
                f"{tuple(labels.shape)}: (B, classes) and (B,) are needed"
            )
        if labels.is_floating_point():
            raise DataError(f"labels are {labels.dtype}: class numbers must be integers")
        z, y = outputs.detach().double(), labels.detach().long()
        self._rows, self._classes = self._rows + z.shape[0], z.shape[1]
        known = (y >= 0) & (y < z.shape[1])
        y = y.clamp(0, z.shape[1] - 1)
        sums = torch.stack(
            [
                functional.cross_entropy(z, y, reduction="sum"),
                (z.argmax(dim=1) == y).sum(),
                (~torch.isfinite(z).all(dim=1)).sum(),
                (~known).sum(),
            ]
        )
        self._sums = sums if self._sums is None else self._sums + sums

    def compute(self) -> dict[str, float | None]:
        """The metrics of all rows so far.

        Returns:
            ``logloss``: mean cross entropy in nats; ``accuracy``: share of rows whose largest logit
            is that of the right class (of equal ones the first counts); ``rows``.

        Raises:
            DataError: There was no row, or a label was no class number.
            NonFiniteError: A logit was NaN or infinite; the message says in how many rows.
        """
        if self._sums is None or self._rows == 0:
            raise DataError(NO_ROWS)
        loss_sum, right, non_finite, unknown = self._sums.tolist()
        if unknown:
            raise DataError(
                f"{unknown:.0f} of {self._rows} labels are no class numbers from 0 to "
                f"{self._classes - 1}; number the classes from 0, or give the model more outputs"
            )
        raise_if_unusable(
            rows=self._rows, non_finite=int(non_finite), bad_labels=0, what="rows of logits"
        )
        return {
            "logloss": loss_sum / self._rows,
            "accuracy": right / self._rows,
            "rows": self._rows,
        }
