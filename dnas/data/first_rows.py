"""A part of a loader: the same first rows each time, whatever the size of its batches."""

from __future__ import annotations

from collections.abc import Iterator

from dnas.data.batch import Batch, RowBatch
from dnas.data.loader import Loader
from dnas.errors import DataError


class FirstRows:
    """The first rows of a loader's first epoch, as a loader of one epoch.

    Args:
        loader: All its batches but the last have the same number of rows.
        rows: How many; 0, or more than there are: all.

    Raises:
        DataError: ``rows`` is negative, or cuts through batches that have no ``rows(part)``.
    """

    def __init__(self, loader: Loader, rows: int = 0) -> None:
        if rows < 0:
            raise DataError(f"rows must not be negative, but got {rows}")
        first = next(iter(loader.batches(0, 1)))
        size = len(first.labels)
        self._loader = loader
        self._steps = min(-(-rows // size), len(loader)) if rows else len(loader)
        #: Rows of the last batch; None: as many as it has.
        self._last = rows - (self._steps - 1) * size if rows else None
        if self._last is not None and not isinstance(first, RowBatch):
            there = len(next(iter(loader.batches(self._steps - 1, self._steps))).labels)
            if self._last < there:
                raise DataError(
                    f"{self._last} of {there} rows are wanted of the last batch, and "
                    f"{type(first).__name__} has no method rows(part: slice), which gives some "
                    f"rows of a batch: add it, or take a multiple of {size} rows"
                )

    def __len__(self) -> int:
        return self._steps

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The batches ``start`` .. ``stop - 1`` of the one epoch there is."""
        if not 0 <= start <= stop <= self._steps:
            raise DataError(f"batches({start}, {stop}): there are {self._steps} batches")
        for step, batch in zip(range(start, stop), self._loader.batches(start, stop), strict=True):
            last = step == self._steps - 1
            if last and self._last is not None and self._last < len(batch.labels):
                assert isinstance(batch, RowBatch)
                batch = batch.rows(slice(0, self._last))
            yield batch
