"""Batches: what a loader yields and a model eats.

The training loops know three things of a batch: ``batch.to(device)``, ``batch.inputs`` (the
positional arguments of the model's ``forward``) and ``batch.labels``. Everything else is between
the data and the model.

Letters: B rows of a batch, F sparse (categorical) features, N ids in all bags of a batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from dnas.errors import DataError


class Bags(NamedTuple):
    """Multi-hot ids in compressed rows: bag ``b * F + f`` is ``values[offsets[i]:offsets[i+1]]``.

    Attributes:
        values: ``(N,)`` int64 ids, each in the range of its feature; bags may be empty.
        offsets: ``(B * F + 1,)`` int64, first 0, last N.
    """

    values: Tensor
    offsets: Tensor


@runtime_checkable
class Batch(Protocol):
    """What the training loops need of a batch."""

    @property
    def inputs(self) -> tuple[Any, ...]:
        """Positional arguments of the model's ``forward``."""

    @property
    def labels(self) -> Tensor:
        """``(B, ...)`` targets of the loss function."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on ``device``."""


def check_batch(batch: object) -> None:
    """Refuse what a loader must not give.

    Raises:
        DataError: It is no :class:`Batch`, or its inputs are no tuple.
    """
    missing = [name for name in ("inputs", "labels", "to") if not hasattr(batch, name)]
    if missing:
        raise DataError(
            f"a loader gave a {type(batch).__name__} without {' and '.join(missing)}; batches() "
            "must give objects with inputs, labels and to(device), such as dnas.data.TensorBatch"
        )
    inputs: object = batch.inputs  # type: ignore[attr-defined]
    if not isinstance(inputs, tuple | list):
        raise DataError(
            f"{type(batch).__name__}.inputs is a {type(inputs).__name__}; it must be the tuple of "
            "forward's inputs, (x,) where there is one"
        )


@runtime_checkable
class RowBatch(Batch, Protocol):
    """A batch that can be cut, which data-parallel training needs."""

    def rows(self, part: slice) -> RowBatch:
        """The rows of ``part``, which has a start and a stop, as a batch."""


@dataclass(frozen=True)
class ClickBatch:
    """Rows of a click log.

    Attributes:
        dense: ``(B, n_dense)`` float32, transformed as the store's options say.
        ids: ``(B, F)`` int64 one id a feature, or :class:`Bags`.
        labels: ``(B,)`` float32 in {0, 1}.
    """

    dense: Tensor
    ids: Tensor | Bags
    labels: Tensor

    @property
    def inputs(self) -> tuple[Any, ...]:
        return self.dense, self.ids

    def to(self, device: torch.device) -> ClickBatch:
        ids = (
            Bags(*(part.to(device, non_blocking=True) for part in self.ids))
            if isinstance(self.ids, Bags)
            else self.ids.to(device, non_blocking=True)
        )
        return ClickBatch(
            self.dense.to(device, non_blocking=True),
            ids,
            self.labels.to(device, non_blocking=True),
        )

    def pin_memory(self) -> ClickBatch:
        """A copy that a GPU can fetch by itself."""
        ids = (
            Bags(*(part.pin_memory() for part in self.ids))
            if isinstance(self.ids, Bags)
            else self.ids.pin_memory()
        )
        return ClickBatch(self.dense.pin_memory(), ids, self.labels.pin_memory())

    def rows(self, part: slice) -> ClickBatch:
        ids = (
            _bags_of_rows(self.ids, len(self.labels), part)
            if isinstance(self.ids, Bags)
            else self.ids[part]
        )
        return ClickBatch(self.dense[part], ids, self.labels[part])


def _bags_of_rows(bags: Bags, total: int, part: slice) -> Bags:
    """The bags of some of ``total`` rows."""
    features = (bags.offsets.numel() - 1) // total
    offsets = bags.offsets[part.start * features : part.stop * features + 1]
    first, last = int(offsets[0]), int(offsets[-1])
    return Bags(bags.values[first:last], offsets - first)


@dataclass(frozen=True)
class TensorBatch:
    """Any model inputs with their targets, for domains other than click logs."""

    inputs: tuple[Tensor, ...]
    labels: Tensor

    def to(self, device: torch.device) -> TensorBatch:
        moved = tuple(part.to(device, non_blocking=True) for part in self.inputs)
        return TensorBatch(moved, self.labels.to(device, non_blocking=True))

    def rows(self, part: slice) -> TensorBatch:
        return TensorBatch(tuple(tensor[part] for tensor in self.inputs), self.labels[part])
