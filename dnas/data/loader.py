"""Loaders: random access to batches by global step.

A position in the data is one integer, the global step: step s is batch ``s mod n`` of epoch
``s div n``, n being the steps of an epoch. A loader has no other state, so half an epoch of one
phase, then of another, and a resume after a crash are all plain integers, and none of them reads a
batch twice or leaves one out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from dnas.data.batch import Batch, ClickBatch, TensorBatch
from dnas.data.splits import Indices
from dnas.data.store import Store
from dnas.errors import DataError

#: A split up to this size is copied into the memory of the process (CPU).
RESIDENT_BYTES = 256 << 20
#: Share of a GPU's free memory that a split may take to live there.
RESIDENT_GPU_SHARE = 1 / 8


#: dense, ids and labels of the same rows.
_Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@runtime_checkable
class Loader(Protocol):
    """What the training loops need of a loader."""

    def __len__(self) -> int:
        """Steps of an epoch."""

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of global steps ``start`` .. ``stop - 1``; always the same ones."""


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """The order of ``rows`` rows in one epoch: a uniform random permutation.

    A function of the arguments alone (and of numpy's generator, which may change between versions
    of numpy). Takes 4 bytes a row, or 8 from 2**31 rows on.
    """
    order = np.arange(rows, dtype=np.int32 if rows <= 2**31 else np.int64)
    np.random.default_rng([seed, epoch]).shuffle(order)
    return order


class StoreLoader:
    """Batches of some rows of a store.

    With ``shuffle`` every epoch is a full uniform random permutation of the rows, not a shuffle
    within a window; without, rows come in ascending order. The permutation of the current epoch is
    kept, 4 bytes a row. When ``drop_last`` leaves out an incomplete last batch, other rows are left
    out each epoch.

    Small splits (see ``resident_bytes``) are gathered once, into memory or onto the GPU; the
    batches are the same either way. A mapped store is never copied whole.

    Args:
        store: Where the rows are.
        indices: Ascending row numbers.
        batch_size: B.
        shuffle: Whether the order is random.
        seed: Of the order, not negative.
        drop_last: Leave out an incomplete last batch, so that all batches have B rows.
        device: Where the batches are to be; None: on the CPU.
        resident_bytes: Largest split that is gathered at once; None: 256 MiB, on a GPU an eighth of
            its free memory.
        flag: How the batch size is called in messages.

    Attributes:
        rows: Rows of an epoch, an incomplete last batch included.
        resident: Whether the rows were gathered into memory, or onto the device, at the start.

    Raises:
        DataError: There are no rows, or no whole batch and ``drop_last``.
    """

    def __init__(
        self,
        store: Store,
        indices: Indices,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int,
        drop_last: bool,
        device: torch.device | str | None = None,
        resident_bytes: int | None = None,
        flag: str = "--batch_size",
    ) -> None:
        rows = len(indices)
        if batch_size < 1:
            raise DataError(f"{flag}={batch_size}: must be at least 1")
        if seed < 0:
            raise DataError(f"seed={seed}: must not be negative")
        if rows == 0:
            raise DataError(f"{store.path}: a loader of no rows; see --train_fraction")
        if drop_last and batch_size > rows:
            raise DataError(
                f"{flag}={batch_size} is more than the {rows} rows of this part of the data: "
                f"use at most {rows}, or more data"
            )
        self.rows = rows
        self.batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._steps = rows // batch_size if drop_last else -(-rows // batch_size)
        self._device = torch.device(device) if device is not None else torch.device("cpu")
        self._order: tuple[int, np.ndarray | Tensor] | None = None
        # Either the rows `indices` of columns on the host, or all rows of columns on the device.
        self._indices = indices
        self._columns: _Columns = store.dense, store.ids, store.labels
        self._on_device: ClickBatch | None = None
        row_bytes = 4 * store.dense.shape[1] + 4 * store.ids.shape[1] + 4
        self.resident = rows * row_bytes <= _limit(self._device, resident_bytes)
        if self.resident:
            key = _key(indices)
            self._columns = store.dense[key], store.ids[key], store.labels[key]
            if isinstance(indices, range):  # a slice is a view of the store
                self._columns = tuple(np.array(column) for column in self._columns)  # type: ignore[assignment]
            self._indices = range(rows)
            if self._device.type != "cpu":
                dense, ids, labels = self._columns
                self._on_device = ClickBatch(
                    torch.from_numpy(dense),
                    torch.from_numpy(ids),  # int32 here, int64 in the batch: half the memory
                    torch.from_numpy(labels.astype(np.float32)),
                ).to(self._device)

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[ClickBatch]:
        """The batches of global steps ``start`` .. ``stop - 1``."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        for step in range(start, stop):
            epoch, number = divmod(step, self._steps)
            first = number * self.batch_size
            yield self._batch(epoch, first, min(first + self.batch_size, self.rows))

    def _batch(self, epoch: int, first: int, last: int) -> ClickBatch:
        if self._on_device is not None:
            return self._batch_on_device(epoch, first, last)
        rows: Indices = self._indices[first:last]
        if self._shuffle:
            order = self._order_of(epoch)[first:last]
            assert isinstance(order, np.ndarray)
            if isinstance(self._indices, range):
                # A range indexed by an array would become a list of Python integers.
                rows = order.astype(np.int64) + self._indices.start
            else:
                rows = self._indices[order]
        key = _key(rows)
        dense, ids, labels = self._columns
        # Copies, never views: a step may write into its batch.
        return ClickBatch(
            torch.from_numpy(np.array(dense[key], dtype=np.float32)),
            torch.from_numpy(ids[key].astype(np.int64)),
            torch.from_numpy(labels[key].astype(np.float32)),
        ).to(self._device)

    def _batch_on_device(self, epoch: int, first: int, last: int) -> ClickBatch:
        assert self._on_device is not None
        full = self._on_device
        assert isinstance(full.ids, Tensor)
        if self._shuffle:
            rows = self._order_of(epoch)[first:last]
            return ClickBatch(full.dense[rows], full.ids[rows].long(), full.labels[rows])
        return ClickBatch(
            full.dense[first:last].clone(),
            full.ids[first:last].long(),
            full.labels[first:last].clone(),
        )

    def _order_of(self, epoch: int) -> np.ndarray | Tensor:
        if self._order is None or self._order[0] != epoch:
            order: np.ndarray | Tensor = epoch_order(self.rows, self._seed, epoch)
            if self._on_device is not None:
                order = torch.from_numpy(order).to(self._device)
            self._order = (epoch, order)
        return self._order[1]


def _key(rows: Indices) -> slice | np.ndarray:
    """How to index an array with row numbers; a slice for consecutive ones."""
    return slice(rows.start, rows.stop) if isinstance(rows, range) else rows


def _limit(device: torch.device, resident_bytes: int | None) -> int:
    if resident_bytes is not None:
        return resident_bytes
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * RESIDENT_GPU_SHARE)
    return RESIDENT_BYTES


class IterableLoader:
    """Any torch ``DataLoader``, or other iterable of batches, as a :class:`Loader`.

    Items are ``(x, y)``, ``((x1, x2, ...), y)`` or a :class:`~dnas.data.batch.Batch`. An epoch is
    one run through the iterable. Random access is by skipping: ``batches(k, ...)`` loads and throws
    away the first ``k mod n`` batches of its epoch, unless the last call ended just there, in which
    case that run goes on.

    For the same call to give the same batches, an epoch must be a function of its number. Of a
    ``DataLoader`` this class sees to it: before each epoch it seeds the loader's and its samplers'
    generators from (seed, epoch) and calls ``set_epoch`` where there is one. Random transforms that
    draw from a global generator remain the caller's affair. Of another iterable, pass a function
    ``epoch -> iterable`` if epochs differ.

    Args:
        source: The iterable, or a function from the epoch to one.
        steps: Steps of an epoch; default ``len(source)``.
        seed: Of a ``DataLoader``'s order, not negative.

    Raises:
        DataError: The length is unknown or 0, or ``source`` can be run through only once.
    """

    def __init__(
        self,
        source: Iterable[Any] | Callable[[int], Iterable[Any]],
        *,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        if isinstance(source, Iterator):
            raise DataError(
                f"{type(source).__name__}: an iterator can be run through only once: pass the "
                "DataLoader itself, or a function from the epoch to an iterable"
            )
        if steps is None:
            try:
                steps = len(source)  # type: ignore[arg-type]
            except TypeError:
                raise DataError(
                    f"{type(source).__name__}: the length of an epoch is unknown: pass steps="
                ) from None
        if steps < 1:
            raise DataError(f"{type(source).__name__}: an epoch of {steps} batches")
        if seed < 0:
            raise DataError(f"seed={seed}: must not be negative")
        self._source = source
        self._steps = steps
        self._seed = seed
        self._running: tuple[int, Iterator[Any]] | None = None

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches of global steps ``start`` .. ``stop - 1``."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        step = start
        while step < stop:
            run = self._run_from(step)
            for item in run:
                step += 1
                done = step % self._steps == 0
                self._running = None if done else (step, run)
                yield _as_batch(item)
                if done or step == stop:
                    break
                if self._running is None or self._running[1] is not run:
                    break  # another caller of batches() took the run over
            else:
                raise DataError(
                    f"{type(self._source).__name__}: ended after {step % self._steps} of the "
                    f"{self._steps} batches of epoch {step // self._steps}"
                )

    def _run_from(self, step: int) -> Iterator[Any]:
        """An iterator whose next item is the batch of ``step``."""
        running, self._running = self._running, None
        if running is not None and running[0] == step:
            return running[1]
        epoch, skip = divmod(step, self._steps)
        run = iter(self._epoch(epoch))
        for number in range(skip):
            if next(run, self) is self:
                raise DataError(
                    f"{type(self._source).__name__}: ended after {number} of the {self._steps} "
                    f"batches of epoch {epoch}"
                )
        return run

    def _epoch(self, epoch: int) -> Iterable[Any]:
        source = self._source
        if isinstance(source, torch.utils.data.DataLoader):
            state = int(np.random.SeedSequence([self._seed, epoch]).generate_state(1, np.uint64)[0])
            generator = torch.Generator().manual_seed(state >> 1)
            source.generator = generator
            batch_sampler: Any = source.batch_sampler
            samplers: list[Any] = [
                source.sampler,
                batch_sampler,
                getattr(batch_sampler, "sampler", None),
            ]
            for sampler in samplers:
                if hasattr(sampler, "generator"):
                    sampler.generator = generator
            for part in [*samplers, source.dataset]:
                if hasattr(part, "set_epoch"):
                    part.set_epoch(epoch)
            return source
        return source(epoch) if callable(source) else source


def _as_batch(item: Any) -> Batch:
    if isinstance(item, Batch):
        return item
    if isinstance(item, Sequence) and len(item) == 2 and isinstance(item[1], Tensor):
        inputs, labels = item
        if isinstance(inputs, Tensor):
            return TensorBatch((inputs,), labels)
        if isinstance(inputs, Sequence) and all(isinstance(part, Tensor) for part in inputs):
            return TensorBatch(tuple(inputs), labels)
    raise DataError(
        f"a loader gave a {type(item).__name__}; it must give (x, y) or ((x1, x2, ...), y) of "
        "tensors, or an object with inputs, labels and to(device)"
    )


def as_loader(source: Loader | Iterable[Any], *, seed: int = 0) -> Loader:
    """``source`` itself if it is a :class:`Loader`, else an :class:`IterableLoader` of it."""
    return source if isinstance(source, Loader) else IterableLoader(source, seed=seed)
