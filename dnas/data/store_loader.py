"""Batches of a store's rows."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from dnas.data.ahead import Ahead
from dnas.data.batch import ClickBatch
from dnas.data.order import FullOrder, Order, WindowOrder
from dnas.data.splits import Indices
from dnas.data.store import DENSE, IDS, LABELS, Store
from dnas.errors import DataError

#: Rows of a window of the shuffle, of a split that is too large for a full permutation.
WINDOW_ROWS = 1 << 18
#: A split up to this size is taken to stay in memory once it was read: it is shuffled as a whole.
FULL_SHUFFLE_BYTES = 256 << 20
#: Share of a GPU's free memory that a split may take to live there.
RESIDENT_GPU_SHARE = 1 / 8
#: Batches that are made ahead of a GPU.
AHEAD = 3


class StoreLoader:
    """Batches of some rows of a store.

    With ``shuffle`` every epoch has a random order of its own, a function of the seed and the
    epoch: a full uniform permutation, or, for splits of more than ``window_rows`` rows, a shuffle
    of chunks and then of rows within windows, which :mod:`dnas.data.order` describes. Without,
    rows come in ascending order. When ``drop_last`` leaves out an incomplete last batch, other rows
    are left out each epoch.

    Batches are gathered from the mapped store itself: whatever the number of jobs on a host, they
    share the one copy in the system's memory, and each has only the row numbers of a window (or of
    an epoch, for a full permutation) for itself. The system is told one window ahead what will be
    read, which it then reads in stretches.

    On a GPU a split that fits (see ``resident_bytes``) lives on the device. Of another one batches
    are made by a thread, in memory that the GPU copies from by itself, a few steps ahead. On the
    CPU there is no thread: gathering takes a tenth of a microsecond a row. The batches are the same
    in all three ways.

    Args:
        store: Where the rows are.
        indices: Ascending row numbers.
        batch_size: B.
        shuffle: Whether the order is random.
        seed: Of the order, not negative.
        drop_last: Leave out an incomplete last batch, so that all batches have B rows.
        device: Where the batches are to be; None: on the CPU.
        window_rows: Rows of a window, rounded down to whole batches. A split of no more rows is
            permuted as a whole. None: 262144, or the whole split up to 256 MiB. Part of what
            determines the order.
        resident_bytes: Largest split that is copied to a GPU; None: an eighth of its free memory.
        flag: How the batch size is called in messages.

    Attributes:
        rows: Rows of an epoch, an incomplete last batch included.
        resident: Whether the rows were copied onto the device at the start.

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
        window_rows: int | None = None,
        resident_bytes: int | None = None,
        flag: str = "--batch_size",
    ) -> None:
        rows = len(indices)
        if batch_size < 1:
            raise DataError(f"{flag}={batch_size}: must be at least 1")
        if seed < 0:
            raise DataError(f"seed={seed}: must not be negative")
        if window_rows is not None and window_rows < 1:
            raise DataError(f"window_rows={window_rows}: must be at least 1")
        if rows == 0:
            raise DataError(f"{store.path}: a loader of no rows; see --train_fraction")
        if drop_last and batch_size > rows:
            raise DataError(
                f"{flag}={batch_size} is more than the {rows} rows of this part of the data: "
                f"use at most {rows}, or more data"
            )
        assert 0 <= indices[0] <= indices[-1] < store.rows, (indices[0], indices[-1], store.rows)
        self.rows = rows
        self.batch_size = batch_size
        self._steps = rows // batch_size if drop_last else -(-rows // batch_size)
        self._device = torch.device(device) if device is not None else torch.device("cpu")
        self._store = store
        self._indices = indices if isinstance(indices, range) else indices.view(np.ndarray)
        self._row_bytes = {DENSE: 4 * store.dense.shape[1], IDS: 4 * store.ids.shape[1], LABELS: 1}
        # As plain arrays: of a memmap each part that is taken is made a memmap again.
        self._columns = tuple(
            column.view(np.ndarray) for column in (store.dense, store.ids, store.labels)
        )
        size = rows * (sum(self._row_bytes.values()) + 3)  # labels are float32 in a batch
        if window_rows is None:
            window_rows = rows if size <= FULL_SHUFFLE_BYTES else WINDOW_ROWS
        self._order: Order | None = None
        if shuffle and window_rows >= rows:
            self._order = FullOrder(rows, seed)
        elif shuffle:
            self._order = WindowOrder(rows, seed, max(window_rows // batch_size, 1) * batch_size)
        self._announced = (-1, -1)
        self._on_device: ClickBatch | None = None
        self._device_order: tuple[np.ndarray, Tensor] | None = None
        on_host = self._device.type == "cpu"
        self.resident = not on_host and size <= resident_limit(self._device, resident_bytes)
        if self.resident:
            self._on_device = _resident(self._columns, indices).to(self._device)

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[ClickBatch]:
        """The batches of global steps ``start`` .. ``stop - 1``; leaving early is fine."""
        if start < 0:
            raise DataError(f"batches({start}, {stop}): steps begin at 0")
        if self._device.type == "cuda" and not self.resident:
            return self._staged(start, stop)
        return (self._batch(step).to(self._device) for step in range(start, stop))

    def _staged(self, start: int, stop: int) -> Iterator[ClickBatch]:
        """Batches that a thread makes, and the device copies while it works on earlier ones."""
        made = (_pinned(self._batch(step), self._device) for step in range(start, stop))
        with Ahead(made, AHEAD) as batches:
            for batch in batches:
                yield batch.to(self._device)

    def _batch(self, step: int) -> ClickBatch:
        """Of resident rows on the device, of others in the host's memory."""
        epoch, number = divmod(step, self._steps)
        first = number * self.batch_size
        last = min(first + self.batch_size, self.rows)
        if self._on_device is not None:
            return self._take_on_device(self._on_device, epoch, first, last)
        rows: Indices = self._indices[first:last]
        if self._order is not None:
            start, order = self._order.around(epoch, first)
            self._announce(epoch, first)
            places = order[first - start : last - start]
            if isinstance(self._indices, range):
                # A range indexed by an array would become a list of Python integers.
                rows = places.astype(np.int64) + self._indices.start
            else:
                rows = self._indices.take(places)
        dense, ids, labels = (_take(column, rows) for column in self._columns)
        return ClickBatch(
            torch.from_numpy(dense),
            torch.from_numpy(ids.astype(np.int64)),
            torch.from_numpy(labels.astype(np.float32)),
        )

    def _take_on_device(self, full: ClickBatch, epoch: int, first: int, last: int) -> ClickBatch:
        assert isinstance(full.ids, Tensor)
        if self._order is None:
            return ClickBatch(
                full.dense[first:last].clone(),
                full.ids[first:last].long(),
                full.labels[first:last].clone(),
            )
        start, order = self._order.around(epoch, first)
        if self._device_order is None or self._device_order[0] is not order:
            self._device_order = order, torch.from_numpy(order).to(self._device)
        rows = self._device_order[1][first - start : last - start]
        return ClickBatch(full.dense[rows], full.ids[rows].long(), full.labels[rows])

    def _announce(self, epoch: int, place: int) -> None:
        """Have the system read the next window from the disk, and this one if it is the first."""
        order = self._order
        if not (isinstance(order, WindowOrder) and isinstance(self._store.labels, np.memmap)):
            return
        if not hasattr(os, "posix_fadvise"):  # macOS; what is not announced is read all the same
            return
        window = place // order.window
        after = (epoch, window + 1) if window + 1 < order.windows else (epoch + 1, 0)
        if self._announced == after:
            return
        wanted = [after] if self._announced == (epoch, window) else [(epoch, window), after]
        for name, width in self._row_bytes.items():
            file = os.open(self._store.path / name, os.O_RDONLY)
            try:
                for which in wanted:
                    starts, lengths = order.pieces(*which)
                    for first, last in zip(starts, starts + lengths - 1, strict=True):
                        begin, end = int(self._indices[first]), int(self._indices[last]) + 1
                        os.posix_fadvise(
                            file, begin * width, (end - begin) * width, os.POSIX_FADV_WILLNEED
                        )
            finally:
                os.close(file)
        self._announced = after


def _take(column: np.ndarray, rows: Indices) -> np.ndarray:
    """Rows of a column; a copy, never a view: a step may write into its batch."""
    if isinstance(rows, range):
        return column[rows.start : rows.stop].copy()
    # Several times as fast as an index in brackets; the mode saves a look at each row number.
    return column.take(rows, axis=0, mode="clip")


def _resident(columns: tuple[np.ndarray, ...], indices: Indices) -> ClickBatch:
    """All rows of a split; ids are int32 here, int64 in batches: half the memory."""
    dense, ids, labels = (_take(column, indices) for column in columns)
    return ClickBatch(
        torch.from_numpy(dense), torch.from_numpy(ids), torch.from_numpy(labels.astype(np.float32))
    )


def _pinned(batch: ClickBatch, device: torch.device) -> ClickBatch:
    # The device of a thread is the first one unless it says otherwise.
    with torch.cuda.device(device):
        return batch.pin_memory()


def resident_limit(device: torch.device, resident_bytes: int | None) -> int:
    """Bytes that a split may take to live on ``device``: as said, or a share of its free memory."""
    if resident_bytes is not None:
        return resident_bytes
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * RESIDENT_GPU_SHARE)
    return 0
